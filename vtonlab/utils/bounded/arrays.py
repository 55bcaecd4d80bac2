"""NumPy's files: plain arrays whose claimed shapes are those of the bytes that are there."""

import io
from math import prod

import numpy as np

from vtonlab.utils.bounded.archives import zip_members
from vtonlab.utils.bounded.source import MAX_BYTES, Source, content, naming

_PLAIN = "biufcSU"  # kinds of numpy types that hold values
_HEADER = 4096  # bytes; numpy's own are below 200


def read_npz(source: Source, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file (stored or deflated, no pickles).

    Args:
        source: the file.
        max_bytes: of all arrays together, unpacked.

    Raises:
        FileNotFoundError: no such file.
        FileError: damaged, or larger than it may be.
    """
    members = zip_members(source, max_bytes=max_bytes)
    with naming(source):
        names = [name.removesuffix(".npy") for name in members]
        if len(set(names)) < len(names):
            raise ValueError("two arrays of one name")
        pairs = list(zip(names, members, strict=True))
        return {name: _array(members.pop(file)) for name, file in pairs}


def read_npy(source: Source, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The array of an ``.npy`` file; errors as `read_npz`."""
    data = content(source, max_bytes)
    with naming(source):
        return _array(data)


def _array(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"npy of version {version}")
    try:
        shape, by_column, dtype = readers[version](stream, max_header_size=_HEADER)
    except MemoryError:  # Python's parser says so of brackets in brackets
        raise ValueError("the header of an array is nested too deeply") from None
    if dtype.kind not in _PLAIN or dtype.itemsize == 0:
        raise ValueError(f"an array of {dtype}")
    here = len(data) - stream.tell()
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != here:
        raise ValueError(f"it claims {shape} of {dtype} and holds {here} bytes")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if by_column else "C").copy()
