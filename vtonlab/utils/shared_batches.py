"""Batches from loader workers to the training process without a fresh page of memory each.

torch puts every tensor that a worker returns into new shared memory, and the system clears and maps
each page of it: at 1024x768 that took longer than half the decoding (measured; see
docs/benchmarks.md). Here a worker keeps a few slots of shared memory and writes batches into them
again and again. The training process gets views, no copies; when the last tensor of a batch is
gone, its slot is free. A batch that is kept simply keeps its slot: the worker takes another, and
when it has no more to lend, torch's own way.
"""

import os
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

MAX_SLOTS = 8  # of a worker: prefetch_factor + 2 are in use while nobody keeps batches
_HEAD = 64  # bytes before the arrays: the first says whether the slot is taken
_FREE, _TAKEN = 0, 1


class Layout(NamedTuple):
    """Where an array of a batch lies in its slot."""

    offset: int
    shape: tuple[int, ...]


class _Slot:
    def __init__(self, number: int, size: int) -> None:
        self.number, self.sent = number, False
        self.memory = torch.empty(size, dtype=torch.uint8).share_memory_()
        self.bytes = self.memory.numpy()


_lent: list[_Slot] = []  # of this worker
_received: dict[tuple[int, int], torch.Tensor] = {}  # in the training process


class Shipment:
    """A batch on its way from a worker: it becomes a plain dictionary where it is unpickled.

    Args:
        rest: the batch, with any value under the keys of ``shapes``.
        shapes: uint8 arrays of the batch, to be filled through `array`.
        slot: to write them into.
    """

    def __init__(self, rest: Mapping[str, Any], shapes: Mapping[str, tuple], slot: _Slot) -> None:
        self.rest, self.slot, self.layouts = dict(rest), slot, {}
        offset = _HEAD
        for name, shape in shapes.items():
            self.layouts[name] = Layout(offset, tuple(shape))
            offset += _padded(shape)

    def array(self, name: str) -> np.ndarray:
        """The memory of one array, to write into."""
        offset, shape = self.layouts[name]
        return self.slot.bytes[offset : offset + int(np.prod(shape))].reshape(shape)

    def __reduce__(self):
        memory = None if self.slot.sent else self.slot.memory
        self.slot.sent = True
        key = (os.getpid(), self.slot.number)
        return _receive, (key, memory, self.layouts, self.rest)


def ship(rest: Mapping[str, Any], shapes: Mapping[str, tuple]) -> Shipment | None:
    """A shipment with a free slot, or None if this worker has no more to lend.

    Args:
        rest: the batch, with any value under the keys of ``shapes``.
        shapes: of its uint8 arrays.
    """
    size = _HEAD + sum(_padded(shape) for shape in shapes.values())
    free = (s for s in _lent if s.bytes[0] == _FREE and len(s.bytes) >= size)
    slot = next(free, None)
    if slot is None:
        if len(_lent) == MAX_SLOTS:
            return None
        slot = _Slot(len(_lent), size)
        _lent.append(slot)
    slot.bytes[0] = _TAKEN
    return Shipment(rest, shapes, slot)


def _padded(shape: tuple) -> int:
    return -(-int(np.prod(shape)) // 64) * 64


def _receive(key: tuple[int, int], memory, layouts: Mapping[str, Layout], rest: dict) -> dict:
    """The batch as a dictionary of tensors; the slot is free again when they are all gone."""
    if memory is not None:
        for old in [k for k in _received if k[0] != key[0] and not _alive(k[0])]:
            del _received[old]
        _received[key] = memory
    memory = _received[key]
    owner = memory.numpy()  # whoever holds a tensor of this batch holds this object
    weakref.finalize(owner, _release, memory).atexit = False
    whole = torch.from_numpy(owner)
    arrays = {
        name: whole[offset : offset + int(np.prod(shape))].view(shape)
        for name, (offset, shape) in layouts.items()
    }
    return {**rest, **arrays}


def _release(memory: torch.Tensor) -> None:
    memory[0] = _FREE


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
