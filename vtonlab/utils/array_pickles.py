"""Pickles of NumPy arrays, read without running the code that a pickle may name."""

import codecs
import copyreg
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

_NUMPY = {
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "_reconstruct": np._core.multiarray._reconstruct,
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
        super().__init__(io.BytesIO(content), encoding="latin1")

    def find_class(self, module: str, name: str):
        if name in _NUMPY and module.split(".")[0] == "numpy":
            return _NUMPY[name]
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")


def read_array_pickle(path: Path) -> Any:
    """What a pickle of plain values and NumPy arrays holds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no pickle, or one that wants to run something.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return ArrayUnpickler(path.read_bytes()).load()
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to say
        raise ValueError(
            f"{path} is no pickle of NumPy arrays ({type(error).__name__}: {error})"
        ) from None
