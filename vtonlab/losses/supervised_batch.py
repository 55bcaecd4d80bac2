"""A batch as the losses of one step read it: the samples that count, targets made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vtonlab.structures.sample import reference_keys
from vtonlab.utils.upload import upload

T = TypeVar("T")
HOST_MASKS = "host_masks"  # key of a batch: name -> (B, 1, H, W) array that never left the host


class SupervisedBatch(Mapping):
    """Some samples of a preprocessed batch, and what losses made of them.

    Losses that share one share their targets: each is made once for a grid and kind. A value is cut
    down to the samples when it is first read.

    Args:
        batch: tensors, arrays and lists whose first axis is the sample; the rest is left alone.
        samples: places in the batch, ascending; None for all.
        size: number of samples in the batch.
    """

    def __init__(self, batch: Mapping, size: int, samples: Sequence[int] | None = None) -> None:
        whole = samples is None or len(samples) == size
        self.batch, self.size = batch, size
        self.samples = None if whole else list(samples)
        self._values: dict[str, Any] = {}
        self._made: dict[tuple, Any] = {}

    @classmethod
    def of(cls, batch: Mapping, size: int) -> SupervisedBatch:
        """``batch`` itself if it is one, else all its ``size`` samples."""
        return batch if isinstance(batch, cls) else cls(batch, size)

    def __getitem__(self, key: str) -> Any:
        if self.samples is None:
            return self.batch[key]
        if key not in self._values:
            self._values[key] = self._cut(self.batch[key])
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch)

    def __len__(self) -> int:
        return len(self.batch)

    def once(self, key: tuple, make: Callable[[], T]) -> T:
        """What ``make`` gave for this key the first time."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def of_reference(self, role: str) -> SupervisedBatch:
        """The batch as it is for one reference (`reference_keys`): its picture under ``garment``,
        its matches under ``correspondences``.
        """
        if role == "garment":
            return self
        return self.once(("reference", role), lambda: _ReferenceBatch(self, role))

    def rows(self, tensor: Tensor) -> Tensor:
        """The samples' part of a tensor (B, ...) over the whole batch."""
        if self.samples is None:
            return tensor
        device = tensor.device
        index = self.once(("index", device), lambda: upload(torch.tensor(self.samples), device))
        return tensor.index_select(0, index)

    def _cut(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._cut(item) for key, item in value.items()}
        if not isinstance(value, (Tensor, np.ndarray, list, tuple)) or len(value) != self.size:
            return value
        if isinstance(value, Tensor):
            return self.rows(value)
        return value[self.samples] if isinstance(value, np.ndarray) else self._taken(value)

    def _taken(self, values: Sequence) -> list:
        return [values[place] for place in self.samples]


class _ReferenceBatch(SupervisedBatch):
    """A batch whose keys of the garment are those of another reference; it makes its own
    targets.
    """

    def __init__(self, whole: SupervisedBatch, role: str) -> None:
        super().__init__(whole.batch, whole.size, whole.samples)
        self._whole, self._keys = whole, reference_keys(role)

    def __getitem__(self, key: str) -> Any:
        if key == HOST_MASKS:
            masks = self._whole[key]
            named = {name: self._keys.get(name, name) for name in masks}
            return {name: masks[other] for name, other in named.items() if other in masks}
        return self._whole[self._keys.get(key, key)]

    def __iter__(self) -> Iterator[str]:
        return (key for key in self.batch if self._keys.get(key, key) in self.batch)


def once(batch: Mapping, key: tuple, make: Callable[[], T]) -> T:
    """``make()``, remembered where ``batch`` is a `SupervisedBatch`."""
    return batch.once(key, make) if isinstance(batch, SupervisedBatch) else make()


def host_mask(batch: Mapping, name: str) -> Tensor:
    """``batch[name]`` (B, 1, H, W) as it lies on the host, where the preprocessor left it there."""
    kept = batch[HOST_MASKS].get(name) if HOST_MASKS in batch else None
    return batch[name] if kept is None else torch.from_numpy(kept)
