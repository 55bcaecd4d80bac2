"""What 3D-GCL reads of the second photograph: its DensePose, and the flow of the body."""

import numpy as np
import pytest

from vtonlab.datasets import BodyFlow
from vtonlab.synthetic import SyntheticTryOn

MESH = dict(type="SMPLFlowMatcher", faces="synthetic", mirror="synthetic")
SETTINGS = dict(size=(64, 48), length=2, setting="person_to_person", categories=["upper_body"])


@pytest.fixture(scope="module")
def sample():
    maps = ["flow", "iuv", "worn_mask", "garment_iuv", "garment_pose"]
    return SyntheticTryOn(**SETTINGS, maps=maps, with_body=True, hardness=(0, 0.3))[0]


def test_the_body_stands_for_the_cloth(sample):
    """It follows the skin: at this size half the pixels lie within two of where their cloth is."""
    found = BodyFlow(matcher=MESH)(sample)
    assert "body" not in found and found["person"] is sample["person"]
    both = (found["flow"].visible & sample["flow"].visible).numpy()
    assert both.sum() > 50
    misses = (found["flow"].flow - sample["flow"].flow).numpy()[both] * (48, 64)
    assert np.median(np.hypot(*misses.T)) < 2


def test_a_sample_without_a_body_is_named(sample):
    bare = {key: value for key, value in sample.items() if key != "body"}
    with pytest.raises(ValueError, match="needs the 'body' of sample 'train_000000'"):
        BodyFlow(matcher=MESH)(bare)


def test_densepose_of_the_second_photograph(sample):
    body = sample["body"]
    seen = np.asarray(body["garment_visibility"]) >= 0
    assert np.array_equal(sample["garment_iuv"][..., 0] > 0, seen)
    assert sample["garment_pose"].any(-1)[seen].all()
    assert not np.array_equal(sample["garment_iuv"], sample["iuv"])


def test_it_is_drawn_only_where_it_is_asked_for():
    assert "second_iuv" not in SyntheticTryOn(**SETTINGS).cache_key()  # older caches stay good
    assert "second_iuv" in SyntheticTryOn(**SETTINGS, maps=["garment_iuv"]).cache_key()
    with pytest.raises(ValueError, match="'garment_iuv' is of the photograph that shows"):
        SyntheticTryOn(**SETTINGS | dict(setting="paired"), maps=["garment_iuv"])
