"""Batches in lent memory are the batches, and no batch in use is ever written over."""

import gc
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vtonlab.structures.sample import collate
from vtonlab.utils import shared_batches
from vtonlab.utils.shared_batches import MAX_SLOTS

SIZE = (320, 240)


class Pictures(Dataset):
    """Every sample tells which it is; ``size`` may grow with the number."""

    def __init__(self, count: int = 40, grow: int = 0) -> None:
        self.count, self.grow = count, grow

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(index)
        h, w = SIZE[0] + self.grow * index, SIZE[1]
        return dict(
            id=f"p{index}",
            position=index,
            person=rng.integers(0, 256, (h, w, 3), dtype=np.uint8),
            agnostic=rng.integers(0, 256, (h, w, 3), dtype=np.uint8)[:, ::-1],
            mask=rng.integers(0, 2, (h, w), dtype=np.uint8),
            parse=rng.integers(0, 20, (h, w), dtype=np.uint8),
            keypoints=rng.random((25, 3)).astype(np.float32),
        )


def loader(dataset: Dataset, **options) -> DataLoader:
    given = dict(batch_size=4, num_workers=2, collate_fn=collate)
    return DataLoader(dataset, **{**given, **options})


def same(one: dict, two: dict) -> bool:
    assert list(one) == list(two)
    return all(
        torch.equal(value, two[key]) if isinstance(value, torch.Tensor) else value == two[key]
        for key, value in one.items()
    )


@pytest.fixture
def expected():
    dataset = Pictures()
    return [collate([dataset[i] for i in range(n, n + 4)]) for n in range(0, 40, 4)]


def test_without_workers_arrays_are_stacked(expected):
    dataset = Pictures()
    person = np.stack([dataset[i]["person"] for i in range(4)])
    assert np.array_equal(expected[0]["person"], person.transpose(0, 3, 1, 2))
    assert expected[0]["person"].is_contiguous()
    assert expected[0]["mask"].shape == (4, 1, *SIZE) and expected[0]["parse"].shape == (4, *SIZE)


@pytest.mark.parametrize("persistent", [False, True])
def test_batches_are_equal_in_every_epoch(expected, persistent):
    batches = loader(Pictures(), persistent_workers=persistent)
    for _ in range(2):
        for batch, truth in zip(batches, expected, strict=True):
            assert type(batch) is dict and same(batch, truth)


def test_batches_that_are_kept_are_not_written_over(expected, monkeypatch):
    """More than a worker has slots: the rest comes torch's way."""
    monkeypatch.setattr("vtonlab.structures.sample._LARGE", 1000)
    kept = list(loader(Pictures(), batch_size=1))
    assert len(kept) > 2 * MAX_SLOTS
    for number, batch in enumerate(kept):
        row = number % 4
        assert torch.equal(batch["person"][0], expected[number // 4]["person"][row])
        assert torch.equal(batch["mask"][0], expected[number // 4]["mask"][row])


def test_one_tensor_of_a_batch_keeps_its_slot(expected):
    masks = [batch["mask"][1:3] for batch in loader(Pictures())]
    gc.collect()
    assert all(torch.equal(m, e["mask"][1:3]) for m, e in zip(masks, expected, strict=True))


def test_slots_are_used_again():
    shared_batches._received.clear()
    for batch in loader(Pictures(120), num_workers=1):
        del batch
    assert 1 <= len(shared_batches._received) <= 5


def test_growing_batches(monkeypatch):
    monkeypatch.setattr("vtonlab.structures.sample._LARGE", 1000)
    sizes = [batch["person"].shape[2] for batch in loader(Pictures(24, grow=8), batch_size=1)]
    assert sizes == [SIZE[0] + 8 * i for i in range(24)]


def test_small_batches_go_as_they_always_did():
    shared_batches._received.clear()
    small = islice(loader(Pictures(4, grow=0), batch_size=1, num_workers=1), 4)
    assert len(list(small)) == 4 and not shared_batches._received


def test_an_error_in_a_worker_still_arrives():
    dataset = Pictures(8, grow=8)
    with pytest.raises(ValueError, match="one batch cannot hold two sizes"):
        list(loader(dataset))
