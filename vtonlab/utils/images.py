"""Safe intake of pictures: one reader for photographs, masks and label maps (reliability.md 3.6).

The size is read from the header and checked before a pixel is decoded, a file cut short is always
an error, EXIF rotation is always applied, and photographs come in sRGB whatever their profile.
Every failure is one sentence that names the file.

Pillow reads every header. Ordinary JPEG pixels (RGB or grey, upright, sRGB) are then decoded by
torchvision, which gives the same values in two thirds of the time; whatever it will not take,
Pillow decodes or refuses. PNG stays with Pillow: torchvision's decoder (0.29) crashes the process
on damaged files. OpenCV fills truncated JPEG files up in grey (reliability.md R20).
"""

import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vtonlab.utils.bounded import FileError, MemoryFile, Source, naming
from vtonlab.utils.colour_profiles import profile_name, to_srgb

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM")
MAX_PIXELS = 200_000_000  # what phones take
SHRINK_ABOVE = 24_000_000  # pixels: larger photographs are read at a half, a quarter or an eighth
MODES = ("rgb", "grey", "mask", "labels")

# Pillow's own guard knows one number for all formats; `_check_promise` is stricter for each.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_READ = "JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF, and HEIC with pillow-heif"
_MAX_FILE = 400_000_000  # bytes
_MAX_BYTES_PER_PIXEL = 8  # 16-bit RGBA, stored without compression
_MAX_DECODED = 200_000_000  # bytes of what cannot be read at a part of its size: all but JPEG
_DEFLATE = 1032  # bytes that one byte of a PNG can at most stand for
_PROMISED = 128  # pixels that one byte of a photograph above `_LARGE` may stand for
_LARGE = 40_000_000  # pixels
_TAIL = 64  # bytes at the end in which an intact file closes
_ORIENTATION = 0x0112
_PNG_END = b"IEND\xae\x42\x60\x82"
_JPEG_END = b"\xff\xd9"
_JPEG_KINDS = ("JPEG", "MPO")  # MPO: cameras append a second picture
_LOSSY_BLACK = 64  # of a JPEG's largest grey level, below which it is noise on black
_FULL_WHITE = 192  # of a mask's largest grey level, from which it is white already
_IJG_SUM = 3693  # of the JPEG standard's luminance table
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".srw", ".pef")
_OTHERS = {  # first bytes -> what it is
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop file",
    b"\xff\x0a": "a JPEG XL picture",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL picture",
    b"<svg": "an SVG drawing",
}


class PictureError(FileError):
    """A file that is no usable picture.

    Args:
        message: one sentence that names the file.
        kind: ``empty``, ``oversized``, ``not-a-picture``, ``truncated`` or ``damaged``.
    """

    def __init__(self, message: str, kind: str = "damaged") -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self):
        return type(self), (str(self), self.kind)


class ImageFacts(NamedTuple):
    """What the header of a picture says."""

    size: tuple[int, int]  # (height, width), upright
    format: str  # Pillow's name
    mode: str  # Pillow's: "RGB", "L", "P", ...
    turned: bool  # stored on its side, with an EXIF flag
    profile: str = ""  # of its colours, where they are not sRGB
    quality: int = 0  # of a JPEG, estimated from its tables (IJG's scale, 1 to 100)


class MaskPlane(NamedTuple):
    """A mask file: grey levels, and what they stood for."""

    plane: np.ndarray  # (H, W), or (H, W, 3) of a colour file; uint8, 255 = the file's own white
    meaning: str  # "" for 0 to 255; else how the file says it, such as "1 is white"


def read_image(path: Source, mode: str = "rgb", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode one picture.

    Args:
        path: a file, on disk or in memory.
        mode: ``"rgb"`` gives (H, W, 3) sRGB, transparency composited on white; ``"grey"`` gives
            (H, W) luminance; ``"mask"`` gives `read_mask`'s plane; ``"labels"`` gives (H, W)
            palette indices or grey values as they are stored.
        max_pixels: refuse larger pictures, by their header. Photographs (``rgb``, ``grey``) above
            `SHRINK_ABOVE` pixels come at a half, a quarter or an eighth of their size.

    Returns:
        uint8 array.

    Raises:
        FileNotFoundError: there is no such file.
        PictureError: not a picture, too large, truncated or damaged.
        FileError: a colour picture where a label map is wanted.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    if mode == "mask":
        return read_mask(path, max_pixels).plane
    path = _regular(path, max_pixels)
    with naming(path, PictureError):
        shrink = mode in ("rgb", "grey")
        return _convert(_decode(path, max_pixels, shrink=shrink), mode, path)


def read_mask(path: Source, max_pixels: int = MAX_PIXELS) -> MaskPlane:
    """Decode a mask, whatever its white is: 255, 65535, 1, True, the second colour of a palette, or
    what a brush left on a transparent layer.

    The file's own largest value is white (of a JPEG, unless it is noise on black); where opacity
    varies, it is the mask and colours say nothing.

    Raises:
        FileNotFoundError, PictureError: as `read_image`.
    """
    path = _regular(path, max_pixels)
    with naming(path, PictureError):
        image = _decode(path, max_pixels, shrink=False)
        if isinstance(image, np.ndarray):
            return _stretched(image, lossy=True)
        return _mask_of(image)


def _mask_of(image: Image.Image) -> MaskPlane:
    if image.has_transparency_data:
        opacity = np.array(image.convert("RGBA").getchannel("A"))
        if opacity.min() != opacity.max() or opacity.max() == 0:
            return MaskPlane(_stretched(opacity).plane, "opacity is the mask")
        image = image.convert("LA" if image.mode == "LA" else "RGB")
    if image.mode == "P":
        return _palette_mask(image)
    if image.mode in ("LA", "La"):
        image = image.getchannel(0)
    if image.mode not in ("1", "L", "F") and not image.mode.startswith("I"):
        return _stretched(np.array(image.convert("RGB")))
    return _stretched(np.array(image))


def _palette_mask(image: Image.Image) -> MaskPlane:
    """By its greys; by which of two colours it is, where they are no greys."""
    colours, places = np.array(image.convert("RGB")), np.array(image)
    if (colours == colours[..., :1]).all():
        return _stretched(colours[..., 0])
    if len(np.unique(places)) <= 2:
        return MaskPlane((places > 0) * np.uint8(255), "a palette's second colour is white")
    return MaskPlane(colours, "")


def _stretched(values: np.ndarray, lossy: bool = False) -> MaskPlane:
    """Grey levels with the largest at 255."""
    if values.dtype == bool:
        return MaskPlane(values * np.uint8(255), "")
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
    peak, deep = values.max(initial=0), values.dtype != np.uint8
    if peak <= 0 or (lossy and peak < _LOSSY_BLACK):
        return MaskPlane(np.zeros(values.shape, np.uint8) if deep else values, "")
    if not deep and peak >= _FULL_WHITE:
        return MaskPlane(values, "")
    levels = np.rint(np.clip(values, 0, None).astype(np.float32) * np.float32(255 / peak))
    return MaskPlane(levels.astype(np.uint8), f"{peak:g} is white")


def check_image(
    path: Source, *, deep: bool = True, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """``(height, width)``, after EXIF rotation, of a picture found intact; see `inspect_image`."""
    return inspect_image(path, deep=deep, max_pixels=max_pixels).size


def inspect_image(path: Source, *, deep: bool, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """The header of a picture found intact.

    Args:
        deep: decode every pixel; else read header and end of file, and decode only where the end
            marker is not in its place. Damage in the middle of a file needs ``deep``, and even then
            a JPEG may decode without complaint (reliability.md R21).

    Raises:
        FileNotFoundError, PictureError: as `read_image`.
    """
    path = _regular(path, max_pixels)
    with naming(path, PictureError), _open(path, path, max_pixels) as image:
        size = _upright_size(image)
        turned = size != (image.height, image.width)
        facts = ImageFacts(
            size, image.format, image.mode, turned, profile_name(image), _quality(image)
        )
    if deep or not _closes(facts.format, path):
        _decode(path, max_pixels, shrink=True)
    return facts


def _quality(image: Image.Image) -> int:
    """The IJG quality whose luminance table has this one's sum; 0 of what is no JPEG."""
    tables = getattr(image, "quantization", None)
    if image.format not in _JPEG_KINDS or not tables:
        return 0
    share = sum(tables[0]) / _IJG_SUM * 100  # IJG scales its table of quality 50 by this per cent
    return min(100, max(1, round(5000 / share if share > 100 else (200 - share) / 2)))


def _regular(path: Source, max_pixels: int) -> Path | MemoryFile:
    if not isinstance(path, MemoryFile):
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        if not path.is_file():
            raise PictureError(f"{path} is not a file", "not-a-picture")
    size = _bytes(path)
    if size == 0:
        raise PictureError(f"{path} is empty (0 bytes); copy it again from its source", "empty")
    if size > min(_MAX_FILE, _MAX_BYTES_PER_PIXEL * max_pixels):
        raise PictureError(
            f"{path} is too large to be a picture of {max_pixels} pixels ({size} bytes)",
            "oversized",
        )
    return path


def _bytes(path: Path | MemoryFile) -> int:
    return len(path.data) if isinstance(path, MemoryFile) else path.stat().st_size


def _head(path: Path | MemoryFile) -> bytes:
    if isinstance(path, MemoryFile):
        return path.data[:32]
    with path.open("rb") as file:
        return file.read(32)


@cache
def _heic_reader() -> bool:
    """Whether pillow-heif is there; Pillow then knows the format."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _formats(path: Path | MemoryFile) -> tuple[str, ...]:
    """Formats to try; what no format is for is refused here, with its name and the way out."""
    head = _head(path)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        if not _heic_reader():
            raise PictureError(
                f"{path} is a HEIC picture: `pip install 'vtonlab[photos]'` (pillow-heif) reads "
                "it, or export it as JPEG",
                "not-a-picture",
            )
        return ("HEIF", *FORMATS)
    other = next((what for start, what in _OTHERS.items() if head.startswith(start)), None)
    other = "a camera's raw file" if path.suffix.lower() in _RAW else other
    if other is not None:
        raise PictureError(f"{path} is {other}: export it as JPEG or PNG", "not-a-picture")
    return FORMATS


def _open(
    source: Path | MemoryFile | io.BytesIO, path: Path | MemoryFile, max_pixels: int
) -> Image.Image:
    """Header only: format and pixel count are checked here, before anything is decoded."""
    if isinstance(source, MemoryFile):
        source = io.BytesIO(source.data)
    formats = _formats(path)
    try:
        image = Image.open(source, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{path} has too many pixels: {error}", "oversized") from None
    except UnidentifiedImageError:
        raise PictureError(
            f"{path} is not a picture that can be read ({_READ}), or its header is damaged; export "
            "it as JPEG or PNG",
            "not-a-picture",
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # a decoder may fail in any way on a crafted header
        raise PictureError(f"{path} has an unreadable header ({error})", "damaged") from None
    try:
        _check_promise(image, path, max_pixels)
    except PictureError:
        image.close()
        raise
    return image


def _check_promise(image: Image.Image, path: Path | MemoryFile, max_pixels: int) -> None:
    """Refuse what its header says is too large, and what its bytes cannot hold."""
    width, height = image.size
    pixels, size = width * height, _bytes(path)
    if pixels > max_pixels:
        raise PictureError(
            f"{path} has {width}x{height} pixels, above the limit of {max_pixels}; scale it down, "
            "or raise max_pixels if it is meant",
            "oversized",
        )
    decoded = pixels * len(image.getbands()) * (2 if image.mode.startswith("I;16") else 1)
    decoded = 4 * pixels if image.mode in ("I", "F") else decoded
    if image.format not in _JPEG_KINDS and decoded > _MAX_DECODED:
        raise PictureError(
            f"{path} has {width}x{height} pixels, {decoded >> 20} MiB once decoded: a "
            f"{image.format} of that size cannot be read in parts; save it as JPEG, or smaller",
            "oversized",
        )
    held = size * _DEFLATE if image.format == "PNG" else None
    if pixels > _LARGE and image.format != "PNG":
        held = size * _PROMISED * len(image.getbands())
        if image.format in _JPEG_KINDS and image.info.get("progressive"):
            raise PictureError(
                f"{path} has {width}x{height} pixels as a progressive JPEG, which is decoded "
                "whole: save it as a baseline JPEG, or smaller",
                "oversized",
            )
    if held is not None and decoded > held and pixels > _LARGE // 40:
        raise PictureError(
            f"{path} has {width}x{height} pixels by its header, but only {size} bytes: no picture "
            "of that size is so small",
            "oversized",
        )


def _decode(path: Path | MemoryFile, max_pixels: int, *, shrink: bool) -> Image.Image | np.ndarray:
    """All pixels, upright: an array of 8-bit RGB or grey, or Pillow's picture of anything else.

    Args:
        shrink: whether it is a photograph: pictures above `SHRINK_ABOVE` pixels are made smaller
            (JPEG files while they are decoded), and colours are made sRGB.
    """
    data = path.read_bytes()
    image = _open(io.BytesIO(data), path, max_pixels)
    kind, factor = image.format, _factor(image.size) if shrink else 1
    decoded = _decode_fast(image, data) if factor == 1 else None
    if decoded is None:
        try:
            if factor > 1 and kind in _JPEG_KINDS:
                image.draft(image.mode, (image.width // factor, image.height // factor))
            image.load()
            if (factor := _factor(image.size) if shrink else 1) > 1:
                image = _reduced(image, factor)
            decoded = ImageOps.exif_transpose(image)
            decoded = to_srgb(decoded) if shrink else decoded
        except MemoryError:
            raise
        except Exception as error:  # OSError, SyntaxError, zlib.error, struct.error, ...
            fault = "truncated" if "truncated" in str(error) else "damaged"
            raise PictureError(
                f"{path} is truncated or damaged ({error}); copy it again from its source", fault
            ) from None
    if not _ended(kind, data):  # decoders accept files that lack their last bytes
        raise PictureError(
            f"{path} is truncated (its end marker is missing); copy it again from its source",
            "truncated",
        )
    return decoded


def _factor(size: tuple[int, int]) -> int:
    """By what sides are divided."""
    pixels = size[0] * size[1]
    return next(f for f in (1, 2, 4, 8) if pixels / f**2 <= SHRINK_ABOVE or f == 8)


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """Means of squares of ``factor`` pixels; what the header said of colours and turn is kept."""
    exif, info = image.getexif(), image.info
    small = (image.convert("RGB") if image.mode in ("P", "1") else image).reduce(factor)
    small.info = dict(info)
    small.getexif().update(exif)
    return small


def _decode_fast(image: Image.Image, data: bytes) -> np.ndarray | None:
    """(H, W) or (H, W, 3) of an ordinary JPEG; None leaves the file, good or bad, to Pillow."""
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or not _upright(image):
        return None
    if profile_name(image):
        return None
    import torch
    from torchvision.io import decode_jpeg

    try:
        pixels = decode_jpeg(torch.from_numpy(np.frombuffer(bytearray(data), np.uint8)))
    except RuntimeError:
        return None
    expected = (len(image.getbands()), image.height, image.width)
    if tuple(pixels.shape) != expected or pixels.dtype != torch.uint8:
        return None
    return pixels[0].numpy() if image.mode == "L" else pixels.permute(1, 2, 0).numpy()


def _upright(image: Image.Image) -> bool:
    try:
        return image.getexif().get(_ORIENTATION, 1) == 1
    except Exception:  # damaged EXIF: Pillow decides
        return False


def _ended(kind: str, data: bytes) -> bool:
    """Whether the end marker comes after the pixels (cameras may append bytes of their own)."""
    if kind in _JPEG_KINDS:
        return data.find(_JPEG_END, max(0, data.rfind(b"\xff\xda"))) >= 0
    return kind != "PNG" or _PNG_END in data


def _closes(kind: str, path: Path | MemoryFile) -> bool:
    """Whether the end marker of the format stands at the end of the file."""
    if isinstance(path, MemoryFile):
        size, head, tail = len(path.data), path.data[:12], path.data[-_TAIL:]
    else:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(12)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
    if kind not in ("PNG", "WEBP", *_JPEG_KINDS):
        return False
    if kind == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 <= size
    return tail.rstrip(b"\0").endswith(_PNG_END if kind == "PNG" else _JPEG_END)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    if image.format != "PNG" or "exif" in image.info:  # PNG would decode to look for it
        try:
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        except Exception:  # damaged EXIF: `_decode` decides whether the picture is usable
            turned = False
        if turned:
            width, height = height, width
    return height, width


def _convert(image: Image.Image | np.ndarray, mode: str, path: Path | MemoryFile) -> np.ndarray:
    if isinstance(image, np.ndarray):
        if image.ndim == (3 if mode == "rgb" else 2):
            return image
        if mode == "rgb":
            colour = np.empty((*image.shape, 3), np.uint8)
            colour[...] = image[..., None]
            return colour
        image = Image.fromarray(image)
    if mode == "labels":
        if image.mode not in ("P", "L", "1"):
            raise FileError(
                f"{path} is a {image.mode} picture, but a label map must be a palette or greyscale "
                "picture that holds the label numbers"
            )
        return np.array(image, dtype=np.uint8)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_upper_byte(np.asarray(image)))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("L" if mode == "grey" else "RGB"))


def _upper_byte(values: np.ndarray) -> np.ndarray:
    """8 of 16 bits; floating point greys run from 0 to 1, or to 255."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
        return np.clip(np.rint(values * (255 if values.max(initial=0) <= 1 else 1)), 0, 255).astype(
            np.uint8
        )
    return (np.clip(values, 0, 65535).astype(np.uint32) >> 8).astype(np.uint8)
