"""Try-off: roles exchanged, correspondences inverted, a sample that keeps the contract."""

import numpy as np
import pytest
import torch

from vtonlab.datasets import SampleKey
from vtonlab.datasets.transforms.try_off import TryOff, inverted
from vtonlab.registry import DATASETS
from vtonlab.structures import Correspondences
from vtonlab.structures.sample import check_sample, collate


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("people"))
    settings = dict(type="SyntheticTryOn", size=(64, 48), length=2, cache_dir=cache)
    plain = DATASETS.build(settings)
    turned = DATASETS.build(settings | dict(transforms=[dict(type="TryOff")]))
    return plain[SampleKey(0, 0)], turned[SampleKey(0, 0)], turned[SampleKey(1, 1)]


def test_roles_are_exchanged(samples):
    plain, turned, other = samples
    check_sample(turned)
    assert np.array_equal(turned["person"], plain["garment"])
    assert np.array_equal(turned["garment"], plain["person"])
    assert np.array_equal(turned["garment_mask"], plain["worn_mask"])
    assert np.array_equal(turned["mask"], plain["garment_mask"])
    assert turned["id"] == plain["id"] and turned["garment_id"] == plain["garment_id"]
    assert "agnostic" not in turned and "pose" not in turned
    assert collate([turned, other])["person"].shape[0] == 2


def test_correspondences_and_flow_are_inverted(samples):
    plain, turned, _ = samples
    there, back = plain["correspondences"], turned["correspondences"]
    assert torch.equal(there.person_points, back.garment_points)
    assert torch.equal(there.garment_points, back.person_points)
    assert torch.equal(inverted(back).person_points, there.person_points)
    flow = turned["flow"]
    assert flow.size == (64, 48) and flow.visible.any()
    # a garment pixel's person point looks back at that pixel, within the pixels that were splatted
    person = flow.to_correspondences()
    again, known = plain["flow"].sample(person.garment_points)
    error = (again - person.person_points).abs() * torch.tensor([48, 64])
    assert known.float().mean() > 0.8 and error[known].median() < 1.5


def test_the_size_on_file_is_that_of_the_generated_picture(samples):
    plain = samples[0] | dict(source_size=(100, 80), garment_source_size=(60, 60))
    turned = TryOff()(plain)
    assert turned["source_size"] == (60, 60) and turned["garment_source_size"] == (100, 80)
    assert "source_size" not in TryOff()(samples[0] | dict(source_size=(100, 80)))


def test_what_it_cannot_turn_is_named(samples):
    plain = samples[0]
    with pytest.raises(ValueError, match="shows a person in another garment"):
        TryOff()(plain | dict(target=plain["person"]))
    with pytest.raises(ValueError, match="lacks 'worn_mask'"):
        TryOff()({k: v for k, v in plain.items() if k != "worn_mask"})
    empty = TryOff()(plain | dict(correspondences=Correspondences.empty()))
    assert len(empty["correspondences"]) == 0
