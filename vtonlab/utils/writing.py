"""Files appear whole or not at all, and what keeps them from it is one sentence."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class WriteError(OSError):
    """A file could not be written, because of the disk or its permissions: one sentence that names
    it and the way out.
    """


def write_atomic(path: Path, data: bytes) -> None:
    """Write under a temporary name in the same folder, sync, rename: never half a file.

    Raises:
        WriteError: see there; what was there before is still there.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with saying(path):
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def sweep(directory: Path, name: str = "*") -> None:
    """Remove what dead writers of files called ``name`` left half-done, in subfolders too."""
    for leftover in directory.rglob(f".tmp-*-{name}"):
        try:
            os.kill(int(leftover.name.split("-")[1]), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            leftover.unlink(missing_ok=True)
        except PermissionError:
            pass  # alive, and somebody else's


@contextmanager
def saying(path: Path) -> Iterator[None]:
    """Makes what the system says of a write one sentence that names ``path`` and the way out."""
    try:
        yield
    except OSError as error:
        if isinstance(error, WriteError):  # said already
            raise
        why, way_out = error.strerror or str(error), ""
        if error.errno in _FULL:
            why = f"{why} ({shutil.disk_usage(path.parent).free} bytes are free)"
            way_out = ": free some, or choose another folder, then run the same command again"
        elif error.errno in _REFUSED:
            why = f"{path.parent} may not be written to ({error.strerror})"
            way_out = ": choose another folder, or change its permissions"
        raise WriteError(
            f"{path} could not be written, {why}{way_out}; what was there is untouched"
        ) from error
