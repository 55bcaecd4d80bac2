"""Where the bytes of a file by somebody else come from, and the one error of its readers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MAX_BYTES = 256 * 2**20  # of one file, and of what it holds unpacked

_UNSAID = (LookupError, TypeError, AttributeError, AssertionError)  # their texts alone say little
_LONGEST = 300  # characters of a reason, which may quote the file


class FileError(ValueError):
    """A file that cannot be used.

    Args:
        message: one sentence that names the file.
        reason: the same without the name, for sentences that name it themselves.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message

    def __reduce__(self):
        return type(self), (str(self), self.reason)


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


@contextmanager
def naming(file: object, kind: type[FileError] = FileError) -> Iterator[None]:
    """Makes whatever a parser raises an error of ``kind`` that names ``file``.

    A missing file and used-up memory stay what they are: they are not the content's fault.
    """
    try:
        yield
    except (FileError, FileNotFoundError, MemoryError):
        raise
    except RecursionError:
        raise _named(kind, file, "it is nested too deeply") from None
    except Exception as error:  # parsers raise whatever their bytes happen to say
        reason = _short(" ".join(reason_of(error).split()))
        raise _named(kind, file, reason) from None


@contextmanager
def naming_file(path: str | Path) -> Iterator[Path]:
    """`naming` of a file on disk, which must be there and a regular one.

    Raises:
        FileNotFoundError: no such file.
        FileError: a folder, a device or a pipe, which has no end.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with naming(path):
        if not path.is_file():
            raise ValueError("it is no file")
        yield path


def _named(kind: type[FileError], file: object, reason: str) -> FileError:
    error = kind(f"{file}: {reason}")
    error.reason = reason
    return error


def reason_of(error: Exception) -> str:
    """What was wrong, for a sentence that names the file itself."""
    if isinstance(error, FileError):
        return error.reason
    return repr(error) if isinstance(error, _UNSAID) else str(error) or type(error).__name__


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def content(source: Source, max_bytes: int = MAX_BYTES) -> bytes:
    """All bytes of a file.

    Raises:
        FileNotFoundError: no such file.
        FileError: no regular file, or larger than ``max_bytes``.
    """
    if isinstance(source, MemoryFile):
        data = source.data
    else:
        data = _of_disk(Path(source), max_bytes)
    if len(data) > max_bytes:
        reason = f"it is larger than {max_bytes} bytes"
        raise FileError(f"{source}: {reason}", reason)
    return data


def _of_disk(path: Path, max_bytes: int) -> bytes:
    """At most one byte more than allowed, so that a file that grows meanwhile is noticed."""
    with naming_file(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return file.read(min(size, max_bytes) + 1)
