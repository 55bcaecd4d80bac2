"""Pickles of NumPy arrays, read without running the code that a pickle may name."""

import codecs
import copyreg
import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from vtonlab.utils.bounded import FileError
from vtonlab.utils.bounded.source import content, naming

MAX_BYTES = 2**30  # of a file: SMPL's models have 250 MB


_ARRAY = object()  # stands for NumPy's class, which a pickle hands to `_begun` but may not call


def _begun(kind: object, shape: tuple, code: bytes) -> np.ndarray:
    """An array that its state, which brings its bytes along, will fill: NumPy begins with none."""
    if kind is not _ARRAY or shape != (0,):
        raise pickle.UnpicklingError(f"an array that begins with {shape}")
    return np.ndarray((0,), np.int8)


_NUMPY = {
    "ndarray": _ARRAY,
    "dtype": np.dtype,
    "_reconstruct": _begun,
    "scalar": np._core.multiarray.scalar,
    "_frombuffer": np._core.numeric._frombuffer,
}
_PLAIN = {
    ("_codecs", "encode"): codecs.encode,
    ("copy_reg", "_reconstructor"): copyreg._reconstructor,
    ("copyreg", "_reconstructor"): copyreg._reconstructor,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
}


class ArrayUnpickler(pickle.Unpickler):
    """Builds plain values and NumPy arrays, nothing else: a pickle that names any other function is
    refused. Strings of Python 2 are read as latin-1.
    """

    def __init__(self, content: bytes) -> None:
        _check_places(content)
        super().__init__(io.BytesIO(content), encoding="latin1")

    def find_class(self, module: str, name: str):
        if name in _NUMPY and module.split(".")[0] == "numpy":
            return _NUMPY[name]
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")


def _check_places(content: bytes) -> None:
    """``UnpicklingError`` where values are kept at places that no honest pickle numbers: Python
    makes a list of that length.
    """
    for number, (step, argument, _) in enumerate(pickletools.genops(content)):
        if step.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= argument <= number:
            raise pickle.UnpicklingError(f"it keeps a value at place {argument}")


def read_array_pickle(path: Path) -> Any:
    """What a pickle of plain values and NumPy arrays holds.

    Raises:
        FileNotFoundError: no such file.
        FileError: no pickle, one that wants to run something, or one that claims too much.
    """
    return unpickled(path, ArrayUnpickler)


def unpickled(path: Path, reader: type[ArrayUnpickler]) -> Any:
    """What ``reader`` builds of a file; errors as `read_array_pickle`."""
    data = content(path, MAX_BYTES)
    try:
        with naming(path):
            return reader(data).load()
    except MemoryError:  # of what it claims: the file itself is in memory
        raise FileError(f"{path} is no pickle of NumPy arrays (it claims too much)") from None
    except FileError as error:
        raise FileError(f"{path} is no pickle of NumPy arrays ({error.reason})") from None
