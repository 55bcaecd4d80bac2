"""Safe intake of pictures: one reader for photographs, masks and label maps (reliability.md 3.6).

The size is read from the header and checked before a pixel is decoded, only JPEG, PNG and WebP are
opened, a file cut short is always an error, and EXIF rotation is always applied. Every failure is
one sentence that names the file.

Pillow reads every header. Ordinary JPEG pixels (RGB or grey, upright) are then decoded by
torchvision, which gives the same values in two thirds of the time; whatever it will not take,
Pillow decodes or refuses. PNG stays with Pillow: torchvision's decoder (0.29) crashes the process
on damaged files. OpenCV fills truncated JPEG files up in grey (reliability.md R20).
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 40_000_000
MODES = ("rgb", "grey", "mask", "labels")

_MAX_BYTES_PER_PIXEL = 8  # 16-bit RGBA, stored without compression
_TAIL = 64  # bytes at the end in which an intact file closes
_ORIENTATION = 0x0112
_PNG_END = b"IEND\xae\x42\x60\x82"
_JPEG_END = b"\xff\xd9"
_JPEG_KINDS = ("JPEG", "MPO")  # MPO: cameras append a second picture


class MemoryFile(NamedTuple):
    """A file that is in memory already, such as a member of a shard; it prints as its name."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    def read_bytes(self) -> bytes:
        return self.data

    def read_text(self) -> str:
        return self.data.decode("utf-8")


Source = str | Path | MemoryFile


class PictureError(ValueError):
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


def read_image(path: Source, mode: str = "rgb", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode one picture.

    Args:
        path: a file, on disk or in memory.
        mode: ``"rgb"`` gives (H, W, 3), transparency composited on white; ``"grey"`` gives (H, W)
            luminance; ``"mask"`` gives (H, W) of a grey file and (H, W, 3) of a colour file;
            ``"labels"`` gives (H, W) palette indices or grey values as they are stored.
        max_pixels: refuse larger pictures, by their header.

    Returns:
        uint8 array.

    Raises:
        FileNotFoundError: there is no such file.
        PictureError: not a picture, too large, truncated or damaged.
        ValueError: a colour picture where a label map is wanted.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    path = _regular(path, max_pixels)
    return _convert(_decode(path, max_pixels), mode, path)


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
    with _open(path, path, max_pixels) as image:
        size = _upright_size(image)
        turned = size != (image.height, image.width)
        facts = ImageFacts(size, image.format, image.mode, turned)
    if deep or not _closes(facts.format, path):
        _decode(path, max_pixels)
    return facts


def _regular(path: Source, max_pixels: int) -> Path | MemoryFile:
    if not isinstance(path, MemoryFile):
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        if not path.is_file():
            raise PictureError(f"{path} is not a file", "not-a-picture")
    size = len(path.data) if isinstance(path, MemoryFile) else path.stat().st_size
    if size == 0:
        raise PictureError(f"{path} is empty (0 bytes); copy it again from its source", "empty")
    if size > _MAX_BYTES_PER_PIXEL * max_pixels:
        raise PictureError(
            f"{path} is too large to be a picture of {max_pixels} pixels ({size} bytes)",
            "oversized",
        )
    return path


def _open(
    source: Path | MemoryFile | io.BytesIO, path: Path | MemoryFile, max_pixels: int
) -> Image.Image:
    """Header only: format and pixel count are checked here, before anything is decoded."""
    if isinstance(source, MemoryFile):
        source = io.BytesIO(source.data)
    try:
        image = Image.open(source, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{path} has too many pixels: {error}", "oversized") from None
    except UnidentifiedImageError:
        raise PictureError(
            f"{path} is not a JPEG, PNG or WebP picture, or its header is damaged", "not-a-picture"
        ) from None
    except Exception as error:  # a decoder may fail in any way on a crafted header
        raise PictureError(f"{path} has an unreadable header ({error})", "damaged") from None
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise PictureError(
            f"{path} has {width}x{height} pixels, above the limit of {max_pixels}; scale it down, "
            "or raise max_pixels if it is meant",
            "oversized",
        )
    return image


def _decode(path: Path | MemoryFile, max_pixels: int) -> Image.Image | np.ndarray:
    """All pixels, upright: an array of 8-bit RGB or grey, or Pillow's picture of anything else."""
    data = path.read_bytes()
    image = _open(io.BytesIO(data), path, max_pixels)
    kind = image.format
    decoded = _decode_fast(image, data)
    if decoded is None:
        try:
            image.load()
            decoded = ImageOps.exif_transpose(image)
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


def _decode_fast(image: Image.Image, data: bytes) -> np.ndarray | None:
    """(H, W) or (H, W, 3) of an ordinary JPEG; None leaves the file, good or bad, to Pillow."""
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or not _upright(image):
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
        if mode == "mask" or image.ndim == (3 if mode == "rgb" else 2):
            return image
        if mode == "rgb":
            colour = np.empty((*image.shape, 3), np.uint8)
            colour[...] = image[..., None]
            return colour
        image = Image.fromarray(image)
    if mode == "labels":
        if image.mode not in ("P", "L", "1"):
            raise ValueError(
                f"{path} is a {image.mode} picture, but a label map must be a palette or greyscale "
                "picture that holds the label numbers"
            )
        return np.array(image, dtype=np.uint8)
    if image.mode.startswith("I"):  # 16 bit: keep the upper byte
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    grey = mode == "grey" or (mode == "mask" and image.mode in ("L", "1"))
    return np.array(image.convert("L" if grey else "RGB"))
