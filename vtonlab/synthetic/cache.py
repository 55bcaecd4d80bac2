"""Rendered samples on disk, shared by runs and workers; a kill leaves whole files or none."""

import hashlib
import json
import os
import tempfile
from math import prod
from pathlib import Path

import numpy as np

from vtonlab.utils.bounded import naming, parse_json

_MAGIC = b"vtonlab-sample-1\n"


class SampleCache:
    """One plain file per sample in a folder named after the settings.

    Writers make a private file and rename it into place, so readers see whole samples only, and
    two workers that draw the same sample write the same bytes. A file is a line of JSON (names,
    types, shapes), then the arrays one after the other; reading takes one system call more than the
    bytes need.
    """

    def __init__(self, root: str | Path, key: dict) -> None:
        text = json.dumps(key, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.folder = Path(root) / f"synthetic-{digest}"
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / "settings.json"
        if not note.is_file():
            _write(note, text.encode())

    def path(self, index: int) -> Path:
        """The file of one sample."""
        return self.folder / f"{index // 1000:04d}" / f"{index:07d}.bin"

    def get(self, index: int) -> dict[str, np.ndarray] | None:
        """The arrays of one sample, or None where none is stored or the file is damaged."""
        try:
            return _decode(self.path(index).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:  # cut off by a full disk or a crashed machine: it is drawn again
            return None

    def put(self, index: int, arrays: dict[str, np.ndarray]) -> None:
        """Store one sample."""
        path = self.path(index)
        path.parent.mkdir(exist_ok=True)
        _write(path, _encode(arrays))


def _encode(arrays: dict[str, np.ndarray]) -> bytes:
    head = {k: (a.dtype.str, a.shape) for k, a in arrays.items()}
    line = json.dumps(head).encode() + b"\n"
    return b"".join([_MAGIC, line, *(np.ascontiguousarray(a).tobytes() for a in arrays.values())])


def _decode(data: bytes) -> dict[str, np.ndarray]:
    with naming("a stored sample"):
        return _arrays(data)


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    if not data.startswith(_MAGIC):
        raise ValueError("not a stored sample")
    end = data.index(b"\n", len(_MAGIC))
    start, out = end + 1, {}
    whole = bytearray(data)  # arrays of a sample may be written to
    for key, (kind, shape) in parse_json(data[len(_MAGIC) : end], "a stored sample").items():
        dtype = np.dtype(kind)
        count = prod(shape)
        out[key] = np.frombuffer(whole, dtype, count, start).reshape(shape)
        start += count * dtype.itemsize
    if start != len(data):
        raise ValueError("a stored sample is cut off")
    return out


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
