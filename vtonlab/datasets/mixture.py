"""Several data sets as one: what a base learns from."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from torch.utils.data import Dataset

from vtonlab.datasets.samplers import SampleKey
from vtonlab.registry import DATASETS


@DATASETS.register_module()
class MixtureDataset(Dataset):
    """The samples of several data sets, one after the other; a sampler shuffles them.

    All must give the same keys, so that their samples share a batch.

    Args:
        datasets: their configs.
        data_root: for those that read files and name none of their own.

    Raises:
        ValueError: there is none.
    """

    def __init__(self, *, datasets: Sequence[dict], data_root: str | None = None) -> None:
        if not datasets:
            raise ValueError("MixtureDataset needs at least one data set")
        root = {} if data_root is None else {"data_root": data_root}
        self.datasets = [DATASETS.build({**root, **settings}) for settings in datasets]
        self.ends = list(accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, item: int | tuple[int, int]) -> dict:
        index, position = (item, item) if isinstance(item, int) else item
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a mixture of {len(self)}")
        place = bisect_right(self.ends, index)
        start = self.ends[place - 1] if place else 0
        return {**self.datasets[place][SampleKey(index - start, position)], "index": index}
