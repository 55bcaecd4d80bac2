"""What every data set of try-on pairs shares: keys, random numbers, transforms and the contract."""

from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log
from torch.utils.data import Dataset

from vtonlab.datasets.samplers import SampleKey
from vtonlab.registry import TRANSFORMS
from vtonlab.structures.sample import check_sample
from vtonlab.utils.seeding import seed_from


class TryOnDataset(Dataset):
    """Base class. A subclass says how many samples there are and loads one, without randomness.

    ``dataset[3]`` and ``dataset[SampleKey(3, position)]`` give the same pair; the second is what
    samplers ask for, and its augmentation depends on ``(seed, position)`` alone, hence not on
    workers, prefetching or restarts.

    Args:
        transforms: joint transforms, or their configs (``dict(type="RandomHFlip", prob=0.5)``).
        seed: of all random numbers lent to the transforms as ``sample["rng"]``.
        keep_in_memory: decode each sample once per process; for sets that fit (9 people at 96x72
            are 2 MB; 11 647 at 1024x768 are 100 GB).
        damaged: ``"error"`` stops at a sample whose files cannot be used; ``"skip"`` names and
            counts it, and takes the next good one in its place, until one in a hundred (or ten)
            are damaged. For training: a test on other people than it says is no test.
    """

    def __init__(
        self,
        *,
        transforms: Sequence | None = None,
        seed: int = 0,
        keep_in_memory: bool = False,
        damaged: str = "error",
    ) -> None:
        if damaged not in ("error", "skip"):
            raise ValueError(f"{type(self).__name__}: damaged {damaged!r} is none of error, skip")
        self.damaged, self._faults = damaged, {}
        self.transforms = [
            TRANSFORMS.build(t) if isinstance(t, dict) else t for t in transforms or ()
        ]
        self.seed = seed
        self._kept: dict[int, dict] | None = {} if keep_in_memory else None

    @property
    def metainfo(self) -> dict:
        """What metrics may ask of the whole set; mmengine wants to find it."""
        return {}

    @property
    def map_settings(self) -> dict:
        """The settings that decide what a pair's maps are at the photographs' own sizes, without
        those that are as the class has them: part of what matches were made from.
        """
        return {}

    def __len__(self) -> int:
        raise NotImplementedError

    def load(self, index: int) -> dict:
        """Sample ``index`` as on disk, without ``index`` and ``position`` and before transforms."""
        raise NotImplementedError

    def __getitem__(self, key: int | SampleKey) -> dict:
        index, position = (key, key) if isinstance(key, int | np.integer) else key
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not below {len(self)}")
        sample = {**self._load_good(int(index)), "index": int(index), "position": int(position)}
        sample["rng"] = np.random.default_rng([self.seed, int(position)])
        for transform in self.transforms:
            sample = transform(sample)
        del sample["rng"]
        return check_sample(sample)

    def _load_good(self, index: int) -> dict:
        """The sample, or with ``damaged="skip"`` the next one that can be loaded."""
        if self.damaged == "error":
            return self._load_once(index)
        for place in (*range(index, len(self)), *range(index)):
            try:
                if place not in self._faults:
                    return self._load_once(place)
            except (ValueError, FileNotFoundError) as error:
                self._count_fault(place, str(error))
        raise ValueError("every sample is damaged")

    def _count_fault(self, index: int, text: str) -> None:
        self._faults[index] = text
        count, limit = len(self._faults), max(10, len(self) // 100)
        print_log(f"damaged, number {count} in this process, passed over: {text}", level=30)
        if count > limit:
            raise ValueError(
                f"{count} of {len(self)} samples are damaged, more than {limit}: damaged='skip' "
                f"goes on without a few only; the last one: {text}"
            )

    def _load_once(self, index: int) -> dict:
        if self._kept is None:
            return self.load(index)
        if index not in self._kept:
            self._kept[index] = self.load(index)
        return self._kept[index]


def derangement(count: int, seed: int) -> np.ndarray:
    """A seeded permutation that leaves nothing in its place: the shuffled-correspondence control.

    One cycle through a random order, so that partner i is never i (for ``count`` above 1).
    """
    order = np.random.default_rng(seed_from("derangement", seed)).permutation(count)
    partner = np.empty(count, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner
