"""Pictures of a page: inside it as data URLs, or in a folder beside it."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from vtonlab.structures.pair_store import write_atomic
from vtonlab.utils.bounded import FileError
from vtonlab.utils.images import read_image

EMBED_BYTES = 2_400_000  # encoded pictures that a page may hold inside; base64 adds a third
EMBED_COUNT = 1000
CRISP_HEIGHT = 128  # pictures up to this height are shown with square pixels and kept exactly


def encoded(picture: np.ndarray | Image.Image, height: int | None = None) -> bytes:
    """A picture as WebP: exact up to ``CRISP_HEIGHT``, else shrunk to ``height`` at quality 88."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image = image.convert("RGB")
    if height is not None and image.height > height:
        image = image.resize((round(image.width * height / image.height), height), Image.LANCZOS)
    buffer = io.BytesIO()
    if image.height <= CRISP_HEIGHT:
        image.save(buffer, format="WEBP", lossless=True, exact=True)
    else:
        image.save(buffer, format="WEBP", quality=88, method=2)
    return buffer.getvalue()


def data_url(data: bytes, kind: str = "image/webp") -> str:
    """Bytes as a ``data:`` address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


class PictureShelf:
    """Picture files of a page, each taken once, addressed by number.

    Args:
        height: larger pictures are shrunk to this height.

    ``urls`` is called once at the end. Small sets (by count and bytes) go into the page, larger
    ones into ``folder``.
    """

    def __init__(self, *, height: int = 512) -> None:
        self.height = height
        self._numbers: dict[Path, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, path: Path | None) -> int | None:
        """Number of a file's picture; None for no file."""
        if path is None:
            return None
        return self._numbers.setdefault(path, len(self._numbers))

    def urls(self, folder: Path, mode: str = "auto", progress=None) -> list[str]:
        """Addresses of all pictures, by number, relative to the folder's parent.

        Args:
            folder: where pictures go that the page does not hold.
            mode: "embed", "folder", or "auto" by size.
            progress: called with each finished count.

        Raises:
            FileNotFoundError, ValueError: a picture that is missing or cannot be read.
        """
        if mode == "auto" and len(self) > EMBED_COUNT:
            mode = "folder"
        found: list[str | bytes] = []
        with ThreadPoolExecutor(4) as pool:
            for number, data in enumerate(pool.map(self._read, self._numbers)):
                found.append(data if mode != "folder" else _write(folder, number, data))
                if progress is not None:
                    progress(number + 1)
        if mode == "auto" and sum(map(len, found)) > EMBED_BYTES:
            return [_write(folder, number, data) for number, data in enumerate(found)]
        return [data_url(data) if isinstance(data, bytes) else data for data in found]

    def _read(self, path: Path) -> bytes:
        try:
            return encoded(Image.fromarray(read_image(path)), self.height)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"picture {path} is gone: run the test again, or leave its folder out"
            ) from None
        except ValueError as error:
            raise FileError(f"picture {path} cannot be read ({error})") from error


def _write(folder: Path, number: int, data: bytes) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number:05d}.webp"
    write_atomic(folder / name, data)
    return f"{quote(folder.name)}/{name}"
