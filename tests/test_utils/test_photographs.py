"""Photographs and masks as phones, editors and numpy users save them."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from vtonlab.utils.images import (
    MemoryFile,
    PictureError,
    inspect_image,
    read_image,
    read_mask,
)

MASK = np.zeros((40, 30), bool)
MASK[10:30, 5:20] = True


def saved(folder, name: str, image, **options):
    path = folder / name
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


# masks ----------------------------------------------------------------------------------------


def brush() -> Image.Image:
    """Strokes of an editor: a red one, and a faint black one, on a transparent layer."""
    layer = np.zeros((*MASK.shape, 4), np.uint8)
    layer[MASK] = (200, 0, 0, 255)
    layer[10:20, 5:20] = (0, 0, 0, 200)
    return Image.fromarray(layer)


def palette(colours: list[int]) -> Image.Image:
    image = Image.fromarray(MASK.astype(np.uint8))
    image.putpalette(colours)
    return image


MASKS = {
    "0 and 1": Image.fromarray(MASK.astype(np.uint8)),
    "0 and 255": Image.fromarray(MASK * np.uint8(255)),
    "boolean": Image.fromarray(MASK),
    "16 bit": Image.fromarray(MASK * np.uint16(65535)),
    "16 bit, 0 and 1": Image.fromarray(MASK.astype(np.uint16)),
    "16 bit, 0 and 255": Image.fromarray(MASK * np.uint16(255)),
    "three channels, 0 and 1": Image.fromarray(np.repeat(MASK[..., None].astype(np.uint8), 3, 2)),
    "palette of greys": palette([0, 0, 0, 255, 255, 255]),
    "palette without colours": palette([0, 0, 0, 1, 1, 1]),
    "palette of colours": palette([0, 0, 0, 128, 0, 0]),
    "brush on a transparent layer": brush(),
    "opaque, with an alpha channel": Image.fromarray(MASK * np.uint8(255)).convert("RGBA"),
    "grey with opacity": Image.merge(
        "LA", [Image.new("L", (30, 40)), Image.fromarray(MASK * np.uint8(255))]
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MASKS)
def test_every_way_to_save_a_mask_means_the_same(tmp_path, kind):
    from vtonlab.datasets.readers.reading import mask_of

    path = saved(tmp_path, "m.png", MASKS[kind])
    np.testing.assert_array_equal(mask_of(read_image(path, "mask"), path), MASK)


def test_how_a_mask_was_meant_is_said(tmp_path):
    said = {k: read_mask(saved(tmp_path, "m.png", image)).meaning for k, image in MASKS.items()}
    assert said["0 and 255"] == said["boolean"] == said["palette of greys"] == ""
    assert said["0 and 1"] == said["16 bit, 0 and 1"] == "1 is white"
    assert said["16 bit"] == "65535 is white"
    assert said["brush on a transparent layer"] == "opacity is the mask"
    assert said["palette of colours"] == "a palette's second colour is white"


def test_noise_on_a_black_jpeg_is_no_mask(tmp_path):
    noise = np.random.default_rng(0).integers(0, 4, (40, 30), np.uint8)
    assert read_mask(saved(tmp_path, "m.jpg", noise, quality=95)).plane.max() < 64


@pytest.mark.parametrize("name", ["m.tif", "m.bmp", "m.gif", "m.webp", "m.avif"])
def test_masks_in_other_formats(tmp_path, name):
    options = (
        dict(lossless=True) if name == "m.webp" else dict(quality=95) if name == "m.avif" else {}
    )
    plane = read_image(saved(tmp_path, name, MASK * np.uint8(255), **options), "mask")
    plane = plane if plane.ndim == 2 else plane[..., 1]
    np.testing.assert_array_equal(plane > 127, MASK)


# colours --------------------------------------------------------------------------------------

PRIMARIES = {  # x, y of red, green, blue; Display P3's, and sRGB's
    "P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "sRGB": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
}
WHITE = (0.3127, 0.3290)


def to_xyz(name: str) -> np.ndarray:
    """(3, 3): linear RGB to XYZ, by the primaries and D65."""

    def column(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1, (1 - x - y) / y])

    matrix = np.stack([column(*xy) for xy in PRIMARIES[name]], 1)
    return matrix * np.linalg.solve(matrix, column(*WHITE))


def linear(values: np.ndarray) -> np.ndarray:
    values = values / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def displayed(values: np.ndarray) -> np.ndarray:
    values = np.clip(values, 0, 1)
    return 255 * np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def p3_to_srgb(picture: np.ndarray) -> np.ndarray:
    """What Display P3 colours are in sRGB, in float64: both have D65 and one curve."""
    matrix = np.linalg.solve(to_xyz("sRGB"), to_xyz("P3"))
    return displayed(linear(picture.astype(np.float64)) @ matrix.T)


D65, D50 = np.array([0.95047, 1, 1.08883]), np.array([0.9642, 1, 0.8249])


def number(value: float) -> bytes:
    return struct.pack(">i", round(float(value) * 65536))


def xyz(values) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(number, values))


def curve(values: np.ndarray) -> bytes:
    """Linear light (n,) of n even steps of a file's values."""
    steps = np.rint(65535 * values).astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", len(values)) + steps


def profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile file (ICC.1:2010, version 2)."""
    name = b"Display P3 of a test\0" if space == b"RGB " else b"A test's\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text\0\0\0\0nobody's\0",
        b"wtpt": xyz(D50),
    } | tags
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        data += bytes(-len(data) % 4)
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data
    kinds = (b"\0\0\0\0", 0x02100000, kind, space, connection)
    header = struct.pack(">I4sI4s4s4s", start + len(body), *kinds)
    header += bytes(12) + b"acsp" + bytes(28) + b"".join(map(number, D50)) + bytes(48)
    return header + table + body


def icc_profile(primaries: str) -> bytes:
    """A matrix profile with sRGB's curve."""
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    gain = np.diag((bradford @ D50) / (bradford @ D65))
    adapted = np.linalg.inv(bradford) @ gain @ bradford @ to_xyz(primaries)
    tags = {tag: xyz(adapted[:, n]) for n, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    shown = curve(linear(np.arange(1024) / 1023 * 255))
    return profile(
        b"mntr", b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), shown)
    )


def grey_profile(gamma: float) -> bytes:
    """Of a grey picture, as Photoshop's "Gray Gamma"."""
    light = curve((np.arange(1024) / 1023) ** gamma)
    return profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": light})


def press_profile() -> bytes:
    """Of four inks: each of the sixteen full or empty prints takes half of the light for every
    colour in it, and black takes all.
    """
    inks = np.indices((2,) * 4).reshape(4, -1).T  # cyan, magenta, yellow, black, the last fastest
    light = 0.5 ** inks[:, :3].sum(1) * (1 - inks[:, 3])
    lab = np.stack([255 * lightness(light) / 100, *np.full((2, 16), 128.0)], 1)
    plain = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0])
    table += b"".join(number(value) for value in np.eye(3).ravel())
    table += plain * 4 + np.rint(lab).astype(np.uint8).tobytes() + plain * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def lightness(light: np.ndarray) -> np.ndarray:
    """CIE L* (0 to 100) of relative luminance."""
    return np.where(light > 216 / 24389, 116 * np.cbrt(light) - 16, light * 24389 / 27)


P3 = icc_profile("P3")
COLOURS = np.array(
    [[(30, 160, 60), (200, 120, 90), (90, 90, 90)], [(60, 70, 140), (255, 255, 255), (0, 0, 0)]],
    np.uint8,
)


def test_display_p3_becomes_srgb(tmp_path):
    path = saved(tmp_path, "a.png", COLOURS, icc_profile=P3)
    found = read_image(path)
    # two roundings to 8 bit, and LittleCMS's tables of 16 bit between them
    assert np.abs(found - p3_to_srgb(COLOURS)).max() <= 1.5
    assert np.abs(found[0, 0].astype(int) - (0, 164, 41)).max() <= 1  # not (30, 160, 60)
    assert "P3" in inspect_image(path, deep=False).profile


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpegs_with_a_profile_are_converted_and_turned(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = np.repeat(np.repeat(COLOURS, 16, 0), 16, 1)
    options = dict(quality=100, subsampling=0, exif=exif)
    plain = read_image(saved(tmp_path, "plain.jpg", picture, **options))
    found = read_image(saved(tmp_path, "p3.jpg", picture, icc_profile=P3, **options))
    assert found.shape == plain.shape == ((32, 48, 3) if orientation == 1 else (48, 32, 3))
    assert np.abs(found - p3_to_srgb(plain)).max() <= 1.5  # as above


def test_srgb_profiles_change_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = saved(tmp_path, "a.png", COLOURS, icc_profile=srgb)
    np.testing.assert_array_equal(read_image(path), COLOURS)
    assert inspect_image(path, deep=False).profile == ""


def test_damaged_profiles_and_those_of_other_modes_count_as_none(tmp_path):
    for name, profile in (("a.png", b"no profile"), ("b.png", P3[:300])):
        path = saved(tmp_path, name, COLOURS, icc_profile=profile)
        np.testing.assert_array_equal(read_image(path), COLOURS)
    grey = saved(tmp_path, "grey.png", COLOURS[..., 0], icc_profile=P3)
    np.testing.assert_array_equal(read_image(grey, "grey"), COLOURS[..., 0])


def test_opacity_and_profile_together(tmp_path):
    layer = np.dstack([COLOURS, np.array([[255, 255, 255], [255, 255, 0]], np.uint8)])
    found = read_image(saved(tmp_path, "a.png", layer, icc_profile=P3))
    assert np.abs(found[0] - p3_to_srgb(COLOURS)[0]).max() <= 1.5  # as above
    assert found[1, 2].tolist() == [255, 255, 255]  # transparent black on white


def test_masks_and_labels_have_no_colours_to_convert(tmp_path):
    path = saved(tmp_path, "m.png", MASK * np.uint8(200), icc_profile=P3)
    assert set(np.unique(read_image(path, "mask"))) == {0, 200}
    assert set(np.unique(read_image(path, "labels"))) == {0, 200}


def test_cmyk_and_grey_without_a_profile_stay_what_pillow_says(tmp_path):
    cmyk = Image.fromarray(COLOURS).convert("CMYK")
    path = saved(tmp_path, "a.tif", cmyk)
    np.testing.assert_array_equal(read_image(path), np.array(cmyk.convert("RGB")))


def test_grey_pictures_go_by_their_profile(tmp_path):
    levels = np.arange(0, 256, 15, dtype=np.uint8)[None]
    found = read_image(saved(tmp_path, "grey.png", levels, icc_profile=grey_profile(1.8)))
    expected = displayed((levels / 255.0) ** 1.8)
    assert np.ptp(found, axis=-1).max() <= 1 and np.abs(expected - levels).max() > 15
    assert np.abs(found - expected[..., None]).max() <= 1.5  # as for P3


def test_prints_go_by_their_profile(tmp_path):
    """All sixteen full and empty inks. The profile's table holds L* in 255 steps: half a step is
    0.2 of L*, which the steepest part of sRGB's curve makes 0.6 of a level.
    """
    inks = 255 * np.indices((2,) * 4).reshape(4, -1).T.astype(np.uint8)
    picture = Image.frombytes("CMYK", (16, 1), inks.tobytes())
    found = read_image(saved(tmp_path, "a.tif", picture, icc_profile=press_profile()))
    light = 0.5 ** (inks[:, :3] > 0).sum(1) * (inks[:, 3] == 0)
    assert np.abs(found[0] - displayed(light)[:, None]).max() <= 0.6 + 1.5  # as for P3


# formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, options",
    [
        *[(name, {}) for name in ("a.bmp", "a.tif", "a.ppm")],
        ("a.webp", dict(lossless=True)),
        ("a.tif", dict(compression="tiff_lzw")),
    ],
)
def test_what_pillow_reads_is_read(tmp_path, name, options):
    path = saved(tmp_path, name, COLOURS, **options)
    np.testing.assert_array_equal(read_image(path), COLOURS)
    assert inspect_image(path, deep=True).size == COLOURS.shape[:2]


def test_gif_and_avif(tmp_path):
    picture = np.repeat(np.repeat(COLOURS, 16, 0), 16, 1)
    np.testing.assert_array_equal(read_image(saved(tmp_path, "a.gif", picture)), picture)
    found = read_image(saved(tmp_path, "a.avif", picture, quality=95))
    assert np.abs(found.astype(int) - picture)[4:-4, 4:-4].mean() < 8


def test_heic_by_the_extra(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif reads HEIC: vtonlab[photos]")
    picture = np.repeat(np.repeat(COLOURS, 32, 0), 32, 1)
    path = tmp_path / "a.heic"
    heif.from_pillow(Image.fromarray(picture)).save(path, quality=95)
    assert np.abs(read_image(path).astype(int) - picture).mean() < 8


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("a.jpg", b"%PDF-1.7 and so on", r"a\.jpg is a PDF: export it as JPEG or PNG"),
        ("a.jxl", b"\xff\x0a" + bytes(40), "is a JPEG XL picture"),
        ("a.psd", b"8BPS" + bytes(40), "is a Photoshop file"),
        ("a.CR2", b"II*\0" + bytes(40), "is a camera's raw file"),
        ("a.jpg", b"<html>Quota exceeded</html>", "is not a picture that can be read"),
    ],
)
def test_the_rest_is_named_with_the_way_out(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PictureError, match=said):
        read_image(tmp_path / name)


def test_heic_without_its_reader_names_the_extra(tmp_path, monkeypatch):
    from vtonlab.utils import images

    monkeypatch.setattr(images, "_heic_reader", lambda: False)
    data = b"\0\0\0\x18ftypheic" + bytes(60)
    with pytest.raises(PictureError, match=r"HEIC picture: `pip install 'vtonlab\[photos\]'`"):
        read_image(MemoryFile("a.heic", data))


# sizes ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    """48 megapixels, 8064 x 6048, as a phone saves them."""
    ramp = Image.linear_gradient("L")
    noise = Image.effect_noise((2016, 1512), 40)
    planes = [ramp.resize((2016, 1512)), noise, ramp.rotate(90).resize((2016, 1512))]
    picture = Image.merge("RGB", planes).resize((8064, 6048), Image.Resampling.NEAREST)
    path = tmp_path_factory.mktemp("phone") / "IMG_0001.jpg"
    picture.save(path, quality=80)
    return path


def test_48_megapixels_within_memory(phone):
    code = (
        "import resource, sys; from vtonlab.utils.images import read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(read_image(sys.argv[1]).shape)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, phone], capture_output=True, text=True)
    shape, grown = done.stdout.splitlines()
    assert shape == "(3024, 4032, 3)"
    assert int(grown) < 130_000  # KiB; 12 MP are 36 MB, twice while turned; all pixels 146 MB


def test_a_shrunk_photograph_keeps_its_place(phone):
    small = np.array(Image.fromarray(read_image(phone)).reduce(16))
    whole = np.array(Image.open(phone).reduce(32))
    assert inspect_image(phone, deep=False).size == (6048, 8064)
    assert np.abs(small.astype(int) - whole).max() <= 4  # of areas of 32 pixels squared


@pytest.mark.slow
def test_200_megapixels_are_read(tmp_path):
    noise = Image.effect_noise((1020, 765), 60).convert("RGB")
    noise.resize((16320, 12240), Image.Resampling.NEAREST).save(tmp_path / "a.jpg", quality=80)
    assert read_image(tmp_path / "a.jpg").shape == (3060, 4080, 3)


def headers(kind: str, side: int) -> bytes:
    """A small file that promises side x side pixels."""
    if kind == "jpg" or kind == "progressive.jpg":
        stream = io.BytesIO()
        Image.new("RGB", (16, 16)).save(stream, "JPEG", progressive=kind != "jpg")
        data = bytearray(stream.getvalue())
        frame = data.find(b"\xff\xc2" if kind != "jpg" else b"\xff\xc0")
        data[frame + 5 : frame + 9] = side.to_bytes(2, "big") * 2
        return bytes(data)
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "BMP")
    data = bytearray(stream.getvalue())
    data[18:26] = side.to_bytes(4, "little") * 2
    return bytes(data)


@pytest.mark.parametrize("kind", ["jpg", "progressive.jpg", "bmp"])
def test_headers_that_promise_too_much_are_refused(tmp_path, kind):
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(headers(kind, 14_000))
    with pytest.raises(PictureError, match=r"bomb\..*has 14000x14000 pixels") as error:
        read_image(path)
    assert error.value.kind == "oversized"


def test_jpeg_quality_is_told(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    for quality in (30, 60, 85, 95):
        path = saved(tmp_path, "a.jpg", noise, quality=quality)
        assert abs(inspect_image(path, deep=False).quality - quality) <= 1
    assert inspect_image(saved(tmp_path, "a.png", noise), deep=False).quality == 0
