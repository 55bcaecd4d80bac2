"""Data samplers whose order is a function of the seed and the global sample number alone."""

from collections.abc import Iterator, Sequence, Sized
from typing import NamedTuple

import torch
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from vtonlab.registry import DATA_SAMPLERS


class SampleKey(NamedTuple):
    """What a data set's ``__getitem__`` receives: which item, as which sample of the run."""

    index: int
    position: int


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler[SampleKey]):
    """Infinite; epoch e is the permutation of ``seed + e``; rank r of w takes r, r + w, ...

    A global batch therefore holds the same samples for every number of ranks, and a resumed run
    continues with the sample after the last one without loading any in between (reliability.md
    3.1).

    Args:
        dataset: anything with a length.
        seed: the same on all ranks.
        shuffle: False keeps the data set's order in every epoch.

    Raises:
        ValueError: the data set is empty.
    """

    def __init__(self, dataset: Sized, seed: int | None = 0, shuffle: bool = True) -> None:
        if len(dataset) == 0:
            raise ValueError(
                "the data set is empty: there is nothing to draw training samples from"
            )
        self.size = len(dataset)
        self.seed = 0 if seed is None else seed
        self.shuffle = shuffle
        self.drawn = 0
        self.rank, self.world_size = get_dist_info()

    def skip(self, drawn: int) -> None:
        """Start as if this rank had drawn ``drawn`` samples (iterations x its batch size). O(1)."""
        self.drawn = drawn

    def __iter__(self) -> Iterator[SampleKey]:
        position = self.drawn * self.world_size + self.rank
        epoch, order = -1, None
        while True:
            if position // self.size != epoch:
                epoch = position // self.size
                order = self._order(epoch)
            yield SampleKey(int(order[position % self.size]), position)
            position += self.world_size

    def _order(self, epoch: int) -> torch.Tensor:
        if not self.shuffle:
            return torch.arange(self.size)
        return torch.randperm(self.size, generator=torch.Generator().manual_seed(self.seed + epoch))

    def __len__(self) -> int:
        """Samples of one epoch on all ranks, for progress; the iterator itself does not end."""
        return self.size


@DATA_SAMPLERS.register_module()
class EvalSampler(Sampler[SampleKey]):
    """Each item once, in order, strided over ranks; ``position`` equals ``index``.

    A picture's seed is therefore its pair's. The last round is filled up from the start so that all
    ranks take the same number of steps; metrics drop the surplus by ``index`` (mmengine's
    ``collect_results(results, size)`` does so too).
    """

    def __init__(self, dataset: Sized, seed: int | None = None) -> None:
        self.size = len(dataset)
        self.rank, self.world_size = get_dist_info()
        self.left: list[int] | None = None
        self.block = 1
        del seed  # mmengine passes one to every sampler; this order has no use for it

    def restrict(self, indices: Sequence[int] | None, block: int = 1) -> None:
        """Only these items, each exactly once: nothing is filled up, ranks may differ by one block.

        Args:
            indices: None takes the restriction back.
            block: ranks take turns in so many at once, so that a batch of that size holds the same
                items for any number of ranks.
        """
        self.left = None if indices is None else list(indices)
        self.block = block

    def __iter__(self) -> Iterator[SampleKey]:
        if self.left is not None:
            for index in self.own():
                yield SampleKey(index, index)
            return
        for place in range(self.rank, len(self) * self.world_size, self.world_size):
            yield SampleKey(place % self.size, place % self.size)

    def own(self) -> list[int]:
        """Of the items it is restricted to, those of this rank, in order."""
        starts = range(0, len(self.left), self.block)[self.rank :: self.world_size]
        return [index for start in starts for index in self.left[start : start + self.block]]

    def __len__(self) -> int:
        if self.left is not None:
            return len(self.own())
        return -(-self.size // self.world_size)
