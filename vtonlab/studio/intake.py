"""What visitors send: pictures, archives and tables, checked before anything is made of them.

Sentences name a file as its owner does; where it lies here is nobody's business.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from vtonlab.ops.resize import resize_picture
from vtonlab.studio.settings import MIB, Settings
from vtonlab.utils.bounded import FileError, MemoryFile, zip_members
from vtonlab.utils.images import read_image

TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson")
PICTURE_BYTES = 64 * MIB


def photograph(path: str, settings: Settings) -> np.ndarray:
    """An uploaded picture, (H, W, 3) uint8, its longer side at most ``settings.side``.

    Raises:
        PictureError, FileError: what cannot be used.
    """
    picture = read_image(in_memory(path, PICTURE_BYTES), max_pixels=settings.pixels)
    scale = settings.side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    return resize_picture(picture, tuple(max(1, round(n * scale)) for n in picture.shape[:2]))


def in_memory(path: str, most: int) -> MemoryFile:
    """A file under its own name.

    Raises:
        FileError: larger than ``most`` bytes.
    """
    file = Path(path)
    size = file.stat().st_size
    if size > most:
        raise FileError(
            f"{file.name} is too large ({size // MIB} MiB; {most // MIB} MiB are taken): save it "
            "smaller"
        )
    return MemoryFile(file.name, file.read_bytes())


def unpack(paths: Sequence[str], folder: Path, settings: Settings) -> Path:
    """Uploaded files, or what one uploaded zip holds, in ``folder``.

    Returns:
        The folder, or the only folder in it.

    Raises:
        FileError: damaged, too many, too large, or a member that would leave the folder.
    """
    if not paths:
        raise FileError("nothing was uploaded: choose a zip or a folder")
    archives = [path for path in paths if path.lower().endswith(".zip")]
    if archives and len(paths) > 1:
        raise FileError("one zip at a time: put everything into it")
    if archives:
        file = in_memory(archives[0], settings.upload_bytes)
        members = zip_members(file, max_bytes=settings.upload_bytes)
        files = {name: data for name, data in members.items() if not name.endswith("/")}
        _check_count(len(files), file.name, settings)
        for name, data in files.items():
            _write(folder, name, data, file.name)
    else:
        _check_count(len(paths), "this upload", settings)
        for path in paths:
            _write(folder, Path(path).name, Path(path).read_bytes(), "this upload")
    inside = [path for path in folder.iterdir() if not path.name.startswith(("__MACOSX", "."))]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _check_count(count: int, name: str, settings: Settings) -> None:
    if count > settings.files:
        raise FileError(f"{name} holds {count} files; {settings.files} are taken at once")


def _write(folder: Path, name: str, data: bytes, archive: str) -> None:
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in place.parts[0] or "\0" in name:
        raise FileError(f"{archive} names {name!r}, which lies outside of it: nothing was unpacked")
    target = folder / place
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    except OSError as error:  # a name too long, a file where a folder should be
        raise FileError(f"{archive}: {name[:80]!r} cannot be unpacked ({error.strerror})") from None


def plain(text: str, *folders: Path) -> str:
    """A sentence without the server's own folders."""
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(str(folder), "the upload")
    return text
