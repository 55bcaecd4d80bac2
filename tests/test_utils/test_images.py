"""Every bad file gets its sentence before it costs memory; every good one its exact pixels."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from vtonlab.utils.images import MemoryFile, check_image, read_image

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
KINDS = {
    "jpg": dict(format="JPEG", quality=90),
    "progressive.jpg": dict(format="JPEG", quality=90, progressive=True),
    "png": dict(format="PNG"),
    "webp": dict(format="WEBP", quality=90),
    "lossless.webp": dict(format="WEBP", lossless=True),
}


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, **KINDS[kind])
    return buffer.getvalue()


def saved(folder, name: str, image, **options):
    path = folder / name
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def bomb_png(width: int, height: int) -> bytes:
    """A small file whose header promises width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * 64), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_intact_pictures_decode_as_pillow_does(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(encoded(kind))
    expected = np.array(Image.open(path).convert("RGB"))
    assert np.array_equal(read_image(path), expected)
    assert check_image(path) == check_image(path, deep=False) == (40, 30)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [0, 1, 20, 0.3, 0.6, 0.95, -12, -2, -1])
def test_every_cut_is_found_deep_and_shallow(tmp_path, kind, keep):
    data = encoded(kind)
    size = int(len(data) * keep) if isinstance(keep, float) else keep if keep >= 0 else None
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(data[:keep] if size is None else data[:size])
    for read in (read_image, check_image, lambda p: check_image(p, deep=False)):
        with pytest.raises(ValueError, match=r"cut\.") as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_after_the_end_are_harmless(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(encoded(kind) + b"camera maker's note" * 20)
    assert check_image(path, deep=False) == (40, 30)
    assert read_image(path).shape == (40, 30, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_arbitrary_damage_never_escapes_as_another_error(tmp_path, kind):
    """Bytes flipped, cut and repeated anywhere: an array, or one ValueError."""
    data, path, rng = encoded(kind), tmp_path / f"a.{kind}", np.random.default_rng(7)
    refused = 0
    for _ in range(120):
        broken = np.frombuffer(data, np.uint8).copy()
        places = rng.integers(0, len(broken) if rng.random() < 0.5 else 40, rng.integers(1, 8))
        broken[places] = rng.integers(0, 256, len(places))
        broken = broken.tobytes()
        if rng.random() < 0.2:
            cut = int(rng.integers(0, len(broken)))
            broken = broken[:cut] + broken[cut // 2 :]
        path.write_bytes(broken)
        try:
            picture = read_image(path, max_pixels=100_000)
            assert picture.dtype == np.uint8 and picture.ndim == 3
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 20


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_fast_decoder_is_as_strict_as_pillow(tmp_path, mode):
    """Damaged JPEG files: refused wherever Pillow refuses, and the same pixels wherever not."""
    stream = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(stream, "JPEG", quality=90)
    data, rng, agreed = stream.getvalue(), np.random.default_rng(3), 0
    for _ in range(400):
        broken = np.frombuffer(data, np.uint8).copy()
        places = rng.integers(0, len(broken), rng.integers(1, 5))
        broken[places] = rng.integers(0, 256, len(places))
        file = MemoryFile("a.jpg", broken.tobytes()[: rng.integers(100, 2 * len(data))])
        try:
            expected = np.array(Image.open(io.BytesIO(file.data)).convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            expected = None
        try:
            picture = read_image(file, max_pixels=100_000)
        except ValueError:
            continue
        assert expected is not None and np.array_equal(picture, expected)
        agreed += 1
    assert 50 < agreed < 350


def test_a_file_in_memory_reads_as_on_disk(tmp_path):
    for kind in KINDS:
        path = tmp_path / f"a.{kind}"
        path.write_bytes(encoded(kind))
        file = MemoryFile(f"shard.tar:a.{kind}", encoded(kind))
        assert np.array_equal(read_image(file), read_image(path))
        assert check_image(file, deep=False) == check_image(path, deep=False)
        for cut in (file.data[:-2], file.data[:300], b""):
            with pytest.raises(ValueError, match=r"^shard\.tar:a\."):
                check_image(MemoryFile(file.name, cut), deep=False)


def test_a_cameras_second_picture_is_no_reason_to_refuse_or_to_trust(tmp_path):
    path, small = tmp_path / "a.jpg", Image.fromarray(NOISE[:8, :8])
    Image.fromarray(NOISE).save(path, "MPO", save_all=True, append_images=[small])
    data = path.read_bytes()
    assert Image.open(path).format == "MPO" and read_image(path).shape == NOISE.shape
    path.write_bytes(data[:-2])
    with pytest.raises(ValueError, match="truncated"):
        read_image(path)


def test_missing_folder_text_and_other_formats(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.jpg does not exist"):
        read_image(tmp_path / "no.jpg")
    with pytest.raises(ValueError, match="is not a file"):
        read_image(tmp_path)
    (tmp_path / "page.jpg").write_text("<html>Quota exceeded</html>")
    with pytest.raises(ValueError, match=r"page\.jpg is not a picture that can be read"):
        read_image(tmp_path / "page.jpg")
    path = saved(tmp_path, "a.pcx", NOISE)
    with pytest.raises(ValueError, match="is not a picture that can be read"):
        check_image(path)


def test_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match="is not a file"):
        read_image(tmp_path / "pipe.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [7000, 12_000, 20_000, 100_000])
def test_decompression_bombs_are_refused_by_header(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb_png(side, side))
    for read in (read_image, check_image, lambda p: check_image(p, deep=False)):
        with pytest.raises(ValueError, match=r"bomb\.png has"):
            read(path)


def test_a_bomb_costs_no_memory(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb_png(12_000, 12_000))
    code = (
        "import resource, sys; from vtonlab.utils.images import read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_image(sys.argv[1])\n"
        "except ValueError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    grown = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert int(grown.stdout) < 30_000  # KiB; decoding takes 144 MB


def test_the_limit_is_a_setting(tmp_path):
    path = saved(tmp_path, "a.png", NOISE)
    assert read_image(path, max_pixels=1200).shape == (40, 30, 3)
    with pytest.raises(ValueError, match=r"30x40 pixels, above the limit of 1199"):
        read_image(path, max_pixels=1199)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_rotation_flags_are_applied_everywhere(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, name, NOISE, exif=exif)
    plain = np.array(Image.open(path).convert("RGB"))
    turned = {
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.transpose(1, 0, 2),
        6: np.rot90(plain, -1),
        7: plain[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(plain),
    }[orientation]
    assert np.array_equal(read_image(path), turned)
    assert check_image(path) == check_image(path, deep=False) == turned.shape[:2]


def test_transparency_is_composited_on_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[0, 1] = (200, 0, 0, 0)
    rgba[1, 0] = (0, 0, 0, 51)  # one fifth black
    for path in (
        saved(tmp_path, "a.png", rgba),
        saved(tmp_path, "a.webp", rgba, lossless=True, exact=True),
    ):
        picture = read_image(path)
        assert picture[0, 0].tolist() == [10, 20, 30]
        assert picture[0, 1].tolist() == picture[1, 1].tolist() == [255, 255, 255]
        assert picture[1, 0].tolist() == [204, 204, 204]


def test_other_modes_become_rgb(tmp_path):
    grey = NOISE[..., 0]
    as_rgb = np.repeat(grey[..., None], 3, 2)
    assert np.array_equal(read_image(saved(tmp_path, "l.png", grey)), as_rgb)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(read_image(saved(tmp_path, "i16.png", deep)), as_rgb)
    cmyk = saved(tmp_path, "cmyk.jpg", Image.fromarray(NOISE).convert("CMYK"))
    assert read_image(cmyk).shape == NOISE.shape
    bits = Image.fromarray(grey).convert("1")
    assert set(np.unique(read_image(saved(tmp_path, "bits.png", bits), "grey"))) == {0, 255}


def test_label_maps_keep_their_numbers(tmp_path):
    labels = RNG.integers(0, 20, (9, 7), dtype=np.uint8)
    palette = Image.fromarray(labels)
    palette.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
    assert np.array_equal(read_image(saved(tmp_path, "p.png", palette), "labels"), labels)
    assert np.array_equal(read_image(saved(tmp_path, "l.png", labels), "labels"), labels)
    with pytest.raises(ValueError, match=r"rgb\.png is a RGB picture, but a label map"):
        read_image(saved(tmp_path, "rgb.png", NOISE), "labels")


def test_three_channel_masks_become_one_plane(tmp_path):
    mask = np.repeat((NOISE[..., :1] > 127).astype(np.uint8) * 255, 3, 2)
    path = saved(tmp_path, "m.png", mask)
    assert np.array_equal(read_image(path, "grey"), mask[..., 0])
    assert np.array_equal(read_image(path, "mask"), mask)


@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_grey_files_stay_one_plane_where_a_mask_is_wanted(tmp_path, name):
    path = saved(tmp_path, name, NOISE[..., 0])
    plane = read_image(path, "mask")
    assert plane.shape == NOISE.shape[:2]
    assert np.array_equal(plane, read_image(path, "grey"))
    assert np.array_equal(np.repeat(plane[..., None], 3, 2), read_image(path))


def test_an_unknown_mode_is_named(tmp_path):
    with pytest.raises(ValueError, match="'RGB'"):
        read_image(saved(tmp_path, "a.png", NOISE), "RGB")
