"""Order is a function of the seed and the global sample number, not of ranks or restarts."""

from itertools import islice

import pytest
from mmengine.registry import DATA_SAMPLERS as ROOT
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from vtonlab.datasets import samplers
from vtonlab.datasets.samplers import EvalSampler, ResumableSampler
from vtonlab.registry import DATA_SAMPLERS


def at_rank(monkeypatch, rank: int, world: int) -> None:
    monkeypatch.setattr(samplers, "get_dist_info", lambda: (rank, world))


def take(sampler, count: int) -> list:
    return list(islice(iter(sampler), count))


def test_each_epoch_is_a_permutation_of_its_own():
    keys = take(ResumableSampler(range(10), seed=3), 30)
    epochs = [[k.index for k in keys[e * 10 : e * 10 + 10]] for e in range(3)]
    assert [k.position for k in keys] == list(range(30))
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    # Epoch e of seed s is epoch 0 of seed s + e.
    assert [k.index for k in take(ResumableSampler(range(10), seed=4), 10)] == epochs[1]


def test_without_shuffle_the_order_is_kept():
    keys = take(ResumableSampler(range(3), shuffle=False), 7)
    assert [k.index for k in keys] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("drawn", [0, 1, 9, 10, 25])
def test_skip_continues_the_same_sequence(drawn):
    sampler = ResumableSampler(range(10), seed=1)
    expected = take(sampler, drawn + 12)[drawn:]
    sampler.skip(drawn)
    assert take(sampler, 12) == expected


def test_skip_is_constant_time():
    sampler = ResumableSampler(range(10), seed=1)
    sampler.skip(10**15)  # would never end if it walked
    assert take(sampler, 1)[0].position == 10**15


@pytest.mark.parametrize("world", [2, 3, 4])
def test_a_global_batch_does_not_depend_on_the_number_of_ranks(monkeypatch, world):
    batch, steps = 12, 5
    reference = take(ResumableSampler(range(7), seed=2), batch * steps)
    ranks = []
    for rank in range(world):
        at_rank(monkeypatch, rank, world)
        ranks.append(take(ResumableSampler(range(7), seed=2), batch // world * steps))
    local = batch // world
    for step in range(steps):
        union = [key for keys in ranks for key in keys[step * local : step * local + local]]
        assert sorted(union, key=lambda k: k.position) == reference[step * batch :][:batch]


def test_skip_counts_samples_of_one_rank(monkeypatch):
    at_rank(monkeypatch, 1, 2)
    sampler = ResumableSampler(range(5))
    expected = take(sampler, 8)[3:]
    sampler.skip(3)
    assert take(sampler, 5) == expected
    assert expected[0].position == 3 * 2 + 1


def test_nothing_to_draw_from_is_an_error():
    with pytest.raises(ValueError, match="empty"):
        ResumableSampler([])


@pytest.mark.parametrize(("size", "world"), [(6, 1), (7, 2), (7, 3), (2, 4)])
def test_evaluation_counts_each_item_once_after_dropping_the_surplus(monkeypatch, size, world):
    parts = []
    for rank in range(world):
        at_rank(monkeypatch, rank, world)
        sampler = EvalSampler(range(size))
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler)
    assert len({len(part) for part in parts}) == 1
    ordered = [key for row in zip(*parts, strict=True) for key in row]  # mmengine's collect_results
    assert [k.index for k in ordered[:size]] == list(range(size))
    assert all(k.index == k.position for k in ordered)


def test_registered_and_usable_in_a_loader():
    sampler = DATA_SAMPLERS.build(dict(type="ResumableSampler", dataset=list(range(5)), seed=None))
    assert ROOT.get("vtonlab.ResumableSampler") is ResumableSampler

    class Echo:
        def __len__(self):
            return 5

        def __getitem__(self, key):
            return key.position

    loader = DataLoader(Echo(), batch_size=2, sampler=sampler)
    assert [b.tolist() for b in islice(iter(loader), 3)] == [[0, 1], [2, 3], [4, 5]]


def test_mmengine_builds_the_whole_loader_from_names(vitonhd):
    """The config form of the recipes, through mmengine's own builder."""
    config = dict(
        batch_size=3,
        num_workers=0,
        sampler=dict(type="ResumableSampler"),
        collate_fn=dict(type="collate_samples"),
        dataset=dict(type="VITONHDDataset", data_root=str(vitonhd), size=(32, 24)),
    )
    with DefaultScope.overwrite_default_scope("vtonlab"):
        loader = Runner.build_dataloader(config, seed=7)
    assert loader.sampler.seed == 7
    loader.sampler.skip(3)
    batch = next(iter(loader))
    assert batch["position"].tolist() == [3, 4, 5] and batch["person"].shape == (3, 3, 32, 24)
    expected = [key.index for key in take(ResumableSampler(range(4), seed=7), 6)][3:]
    assert batch["index"] == expected
