import numpy as np
import pytest

from vtonlab.datasets import MixtureDataset, SampleKey
from vtonlab.datasets.transforms.texture_completion import TextureCompletion

PEOPLE = dict(type="SyntheticTryOn", split="base", size=(48, 36), categories=["upper_body"])


@pytest.fixture(scope="module")
def mixture():
    bare = dict(PEOPLE, maps=[])
    turned = dict(bare, length=3, transforms=[dict(type="TextureCompletion")])
    return MixtureDataset(datasets=[dict(bare, length=2), turned])


def test_samples_of_all_parts_under_one_index(mixture):
    assert len(mixture) == 5
    first, last = mixture[SampleKey(1, 7)], mixture[SampleKey(4, 9)]
    assert (first["index"], first["position"], first["id"]) == (1, 7, "base_000001")
    assert (last["index"], last["position"], last["id"]) == (4, 9, "base_000002")
    assert set(first) == set(last)
    with pytest.raises(IndexError, match="mixture of 5"):
        mixture[5]
    with pytest.raises(ValueError, match="at least one"):
        MixtureDataset(datasets=[])


def test_texture_completion_hides_a_part_of_the_moved_garment(mixture):
    for index in (2, 3, 4):
        sample = mixture[SampleKey(index, index)]
        mask, person, agnostic = (sample[k] for k in ("mask", "person", "agnostic"))
        assert 0.01 < mask.mean() < 0.9
        hole = mask.astype(bool)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert np.array_equal(agnostic[~hole], person[~hole])
        assert not np.array_equal(agnostic[hole], person[hole])
        assert not np.array_equal(person, sample["garment"])
        colours = {tuple(c) for c in sample["pose"].reshape(-1, 3)}
        assert len(colours) == 2  # cloth and nothing


def test_texture_completion_takes_samples_of_files(mixture):
    """They tell the size of the person's file, which is another picture then."""
    sample = mixture[SampleKey(0, 0)] | dict(source_size=(1000, 10))
    sample["rng"] = np.random.default_rng(0)
    turned = TextureCompletion()(sample)
    assert turned["source_size"] == turned["person"].shape[:2]


def test_texture_completion_depends_on_the_position_alone(mixture):
    one, again, other = mixture[SampleKey(2, 5)], mixture[SampleKey(2, 5)], mixture[SampleKey(2, 6)]
    assert np.array_equal(one["person"], again["person"])
    assert not np.array_equal(one["person"], other["person"])


def test_texture_completion_refuses_maps_of_a_worn_garment():
    dataset = MixtureDataset(datasets=[dict(PEOPLE, transforms=[dict(type="TextureCompletion")])])
    with pytest.raises(ValueError, match="maps="):
        dataset[0]
