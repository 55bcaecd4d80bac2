"""Containers by strangers: what they claim is checked before memory is taken."""

import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 256 * 2**20  # unpacked, of one file
_PLAIN = "biufcSU"  # kinds of numpy types that hold values


def read_npz(source: Path | bytes, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file (stored or deflated, no pickles).

    Args:
        source: a path, or the file's bytes.
        max_bytes: of all arrays together, unpacked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or larger than it may be; the caller names the file.
    """
    data = _bytes(source, max_bytes)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            if claimed > max_bytes:
                raise ValueError(f"it claims {claimed} bytes, the limit is {max_bytes}")
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(set(names)) < len(names):
                raise ValueError("two arrays of one name")
            return {
                name: _array(archive.read(member))
                for name, member in zip(names, members, strict=True)
            }
    except Exception as error:  # whatever zipfile, zlib and numpy's header parser raise
        raise ValueError(str(error) or type(error).__name__) from None


def _bytes(source: Path | bytes, max_bytes: int) -> bytes:
    if isinstance(source, bytes):
        return source
    if Path(source).stat().st_size > max_bytes:
        raise ValueError(f"it is larger than {max_bytes} bytes")
    return Path(source).read_bytes()


def _array(data: bytes) -> np.ndarray:
    """One ``.npy`` whose shape must be that of the bytes which are there."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, by_column, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"npy of version {version}")
    if dtype.kind not in _PLAIN or dtype.itemsize == 0:
        raise ValueError(f"an array of {dtype}")
    here = len(data) - stream.tell()
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != here:
        raise ValueError(f"it claims {shape} of {dtype} and holds {here} bytes")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if by_column else "C").copy()


def tar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of a tar archive in memory; other members are passed over.

    Raises:
        ValueError: damaged, or a member that is larger unpacked than the archive.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                if member.issparse() or member.size > len(data):
                    raise ValueError(f"{member.name} claims {member.size} bytes that are not there")
                if member.isreg():
                    yield member.name, archive.extractfile(member).read()
    except Exception as error:  # tarfile raises what its header parser met
        raise ValueError(str(error) or type(error).__name__) from None


def read_json(text: str | bytes) -> Any:
    """`json.loads`; what is nested too deeply for Python is a ``ValueError`` as well."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
