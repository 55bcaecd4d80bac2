"""What visitors send: pictures, archives and tables, checked before anything is made of them.

Sentences name a file as its owner does; where it lies here is nobody's business.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from vtonlab.ops.resize import resize_picture
from vtonlab.studio.settings import MIB, Settings
from vtonlab.utils.bounded import FileError, MemoryFile, check_form, zip_members
from vtonlab.utils.images import read_image

PICTURE_BYTES = 64 * MIB
_LITTER = ("__MACOSX", ".")  # beginnings of what systems leave in folders


class Sent(NamedTuple):
    """An uploaded file: its name below the folder it came in, and where it lies."""

    name: str
    path: Path


def received(value: Any, uploads: Path) -> list[Sent]:
    """What a place to drop files on (`parts.drop`) says it was given.

    Raises:
        FileError: it says something else, or names a file that was not uploaded.
    """
    try:
        check_form(value or [], [{"name!": str, "path!": str}])
    except ValueError as error:
        raise FileError(f"this upload cannot be read ({error})") from None
    sent = [Sent(entry["name"], Path(entry["path"]).resolve()) for entry in value or []]
    for file in sent:
        if not file.path.is_relative_to(uploads) or not file.path.is_file():
            raise FileError(f"{file.name[:80]!r} was not uploaded here: send it again")
    return sent


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


def in_memory(path: str | Path, most: int, name: str = "") -> MemoryFile:
    """A file under its own name.

    Raises:
        FileError: larger than ``most`` bytes.
    """
    file = Path(path)
    name, size = name or file.name, file.stat().st_size
    if size > most:
        raise FileError(
            f"{name} is too large ({size // MIB} MiB; {most // MIB} MiB are taken): save it smaller"
        )
    return MemoryFile(name, file.read_bytes())


def unpack(files: Sequence[Sent], folder: Path, settings: Settings) -> Path:
    """Uploaded files, or what the one uploaded zip holds, in ``folder``.

    Returns:
        The folder, or the only folder in it.

    Raises:
        FileError: nothing, too many, too large, damaged, or a name that would leave the folder.
    """
    if not files:
        raise FileError("nothing was uploaded: choose a folder, files or a zip")
    archives = [file for file in files if file.name.lower().endswith(".zip")]
    if archives and len(files) > 1:
        raise FileError("one zip at a time: put everything into it")
    for archive in archives:
        packed = in_memory(archive.path, settings.upload_bytes, archive.name)
        members = zip_members(packed, max_bytes=settings.upload_bytes)
        found = {name: data for name, data in members.items() if not name.endswith("/")}
        _check_count(len(found), archive.name, settings)
        for name, data in found.items():
            _place(folder, name, archive.name).write_bytes(data)
    if not archives:
        _check_count(len(files), "this folder", settings)
        for file in files:
            data = in_memory(file.path, settings.upload_bytes, file.name).data
            _place(folder, file.name, "this folder").write_bytes(data)
    inside = [path for path in folder.iterdir() if not path.name.startswith(_LITTER)]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _check_count(count: int, name: str, settings: Settings) -> None:
    if count > settings.files:
        raise FileError(f"{name} holds {count} files; {settings.files} are taken at once")


def _place(folder: Path, name: str, whole: str) -> Path:
    """Where a member goes, its folders made."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    wrong = not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name
    if wrong:
        raise FileError(f"{whole} names {name[:80]!r}, which lies outside of it")
    target = folder.joinpath(*parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(exist_ok=False)
    except OSError as error:  # a name too long, a file where a folder should be, the same twice
        raise FileError(f"{whole}: {name[:80]!r} cannot be unpacked ({error.strerror})") from None
    return target
