"""Files of weights: safetensors, and ``.pth`` without classes."""

import re
import zipfile
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtonlab.utils.bounded.archives import check_claims
from vtonlab.utils.bounded.source import FileError, naming, naming_file
from vtonlab.utils.bounded.text import parse_json

if TYPE_CHECKING:
    from torch import Tensor

_MAX_HEADER = 16 * 2**20  # bytes; FLUX's is 200 kB
_LENGTH = 8  # bytes that say how long the header is
_FACTS = "__metadata__"
_ZIP, _PICKLE, _TAR = b"PK", b"\x80", b"ustar"  # how torch's files begin; tar says so at byte 257


class PickledClassesError(FileError):
    """A file whose loading would run code of classes that it names; nothing was run."""


def read_tensors(
    path: str | Path, names: Collection[str] | None = None, device: Any = "cpu"
) -> "dict[str, Tensor]":
    """Tensors of a ``.safetensors`` file.

    Args:
        path: the file.
        names: these alone; None reads all.
        device: where each goes.

    Raises:
        FileNotFoundError: no such file.
        FileError: damaged, one that claims more than it holds, or one of ``names`` is not in it.
    """
    header = _header(path)
    from safetensors import safe_open

    with naming(path):
        missing = sorted(set(names or ()) - set(header))
        if missing:
            raise ValueError(f"it holds no {missing[0]!r}")
        with safe_open(str(path), framework="pt", device="cpu") as file:
            chosen = file.keys() if names is None else names
            return {name: file.get_tensor(name).to(device) for name in chosen}


def tensor_metadata(path: str | Path) -> dict[str, str]:
    """What a ``.safetensors`` file says about itself; its weights are not read. Errors as
    `read_tensors`.
    """
    facts = _header(path).get(_FACTS) or {}
    with naming(path):
        if not all(isinstance(value, str) for value in facts.values()):
            raise ValueError("its metadata are not texts")
    return facts


def _header(path: str | Path) -> dict[str, Any]:
    """The header, every claim of which was held against the size of the file."""
    with naming_file(path) as path:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            room = size - _LENGTH - length
            if not 2 <= length <= _MAX_HEADER or room < 0:
                raise ValueError(f"its header claims {length} bytes")
            header = parse_json(file.read(length), path)
        for name, entry in header.items():
            if name != _FACTS:
                _check_entry(name, entry, room)
    return header


def _check_entry(name: str, entry: dict, room: int) -> None:
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if not all(type(n) is int for n in (*shape, begin, end)) or min(shape, default=0) < 0:
        raise ValueError(f"{name!r} has no shape or place")
    if not 0 <= begin <= end <= room or prod(shape) > 8 * (end - begin):
        raise ValueError(f"{name!r} claims {shape} at {begin} to {end}, of {room} bytes")


def read_torch(path: str | Path, map_location: Any = "cpu", *, lazy: bool = False) -> Any:
    """``torch.load`` of tensors and plain values alone; nothing is executed.

    Args:
        path: the file.
        map_location: where tensors go.
        lazy: leave them in the file until they are read.

    Raises:
        FileNotFoundError: no such file.
        PickledClassesError: see there.
        FileError: damaged, or larger unpacked than the file (`torch.save` packs nothing).
    """
    with naming_file(path) as path:
        check_start(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_claims(archive.infolist(), path.stat().st_size)
        return _load(path, map_location, lazy)


def check_start(path: Path) -> None:
    """Whether a file can be one that ``torch.save`` wrote.

    Raises:
        ValueError: it is something else, or a part of one.
    """
    with path.open("rb") as file:
        start = file.read(262)
    if not start:
        raise ValueError("it is empty")
    if start.startswith(_ZIP) and not zipfile.is_zipfile(path):
        raise ValueError("its end is missing: copy or download it again")
    if not start.startswith((_ZIP, _PICKLE)) and start[257:] != _TAR:
        raise ValueError(
            f"it is no checkpoint, it begins with {start[:24]!r}: was a web page or a Git LFS "
            "pointer saved in its place? download it again"
        )


def _load(path: Path, map_location: Any, lazy: bool) -> Any:
    import torch

    try:
        return torch.load(path, map_location=map_location, weights_only=True, mmap=lazy)
    except MemoryError:
        raise
    except Exception as error:  # torch gives advice on several lines
        wanted = re.findall(r"GLOBAL ([\w.]+)", str(error))
        if wanted or "Unsupported operand" in str(error):
            reason = f"it holds pickled classes ({', '.join(wanted) or 'unknown'})"
            raise PickledClassesError(f"{path}: {reason}", reason) from None
        raise ValueError(str(error).split("\n")[0] or type(error).__name__) from None
