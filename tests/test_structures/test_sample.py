"""The contract of a sample, and what becomes of it in a batch."""

import numpy as np
import pytest
import torch
from mmengine.registry import FUNCTIONS

from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.flow_field import FlowField
from vtonlab.structures.sample import REQUIRED, check_sample, collate


def make_sample(index: int = 0, size: tuple[int, int] = (8, 6), **extra) -> dict:
    rng = np.random.default_rng(index)
    picture = lambda: rng.integers(0, 256, (*size, 3), dtype=np.uint8)  # noqa: E731
    mask = lambda: rng.integers(0, 2, size, dtype=np.uint8)  # noqa: E731
    sample = dict(
        id=f"p{index}",
        garment_id=f"g{index}",
        category="upper_body",
        index=index,
        position=100 + index,
        person=picture(),
        garment=picture(),
        agnostic=picture(),
        mask=mask(),
        garment_mask=mask(),
        parse=rng.integers(0, 20, size, dtype=np.uint8),
        keypoints=rng.random((25, 3)).astype(np.float32),
    )
    return {**sample, **extra}


def test_a_good_sample_passes_unchanged():
    sample = make_sample()
    assert check_sample(sample) is sample


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(key):
    sample = make_sample()
    del sample[key]
    with pytest.raises(ValueError, match=f"lacks '{key}'"):
        check_sample(sample)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(category="hats"), "'hats' is none of upper_body"),
        (dict(mask=np.full((8, 6), 255, np.uint8)), "0 and 1 only .* largest value is 255"),
        (dict(mask=np.zeros((8, 6, 1), np.uint8)), r"'mask' must be a uint8 array \(H, W\)"),
        (dict(mask=np.zeros((4, 6), np.uint8)), "'mask' is 4x6 but 'person' is 8x6"),
        (dict(garment_mask=np.zeros((4, 6), np.uint8)), "'garment_mask' is 4x6 but 'garment'"),
        (dict(person=np.zeros((8, 6, 3), np.float32)), "'person' must be a uint8 array"),
        (dict(person=torch.zeros(3, 8, 6)), "'person' must be a uint8 array"),
        (dict(pose=np.zeros((8, 6, 4), np.uint8)), "3 channels, not 4"),
        (dict(keypoints=np.zeros((18, 3), np.float32)), r"\(25, 3\) float32, not \(18, 3\)"),
        (dict(correspondences=[]), "'correspondences' must be Correspondences, not list"),
        (dict(flow=np.zeros((8, 6, 2))), "'flow' must be FlowField, not ndarray"),
        (
            dict(flow=FlowField(torch.zeros(4, 3, 2), torch.zeros(4, 3))),
            r"'flow' is \(4, 3\) but 'person' is \(8, 6\)",
        ),
    ],
)
def test_each_breach_gets_its_sentence(change, message):
    with pytest.raises(ValueError, match=message) as error:
        check_sample(make_sample(**change))
    assert "'p0'" in str(error.value) and "\n" not in str(error.value)


def test_garments_may_have_their_own_size():
    check_sample(
        make_sample(garment=np.zeros((4, 4, 3), np.uint8), garment_mask=np.zeros((4, 4), np.uint8))
    )


def test_collate_shapes_types_and_values():
    matches = Correspondences.empty()
    samples = [
        check_sample(make_sample(i, rng=np.random.default_rng(0), note=i, correspondences=matches))
        for i in range(3)
    ]
    batch = collate(samples)
    assert batch["person"].shape == (3, 3, 8, 6) and batch["person"].dtype == torch.uint8
    assert batch["person"].is_contiguous()
    assert batch["mask"].shape == (3, 1, 8, 6) and batch["mask"].dtype == torch.uint8
    assert batch["parse"].shape == (3, 8, 6)
    assert batch["keypoints"].shape == (3, 25, 3) and batch["keypoints"].dtype == torch.float32
    assert torch.equal(batch["position"], torch.tensor([100, 101, 102]))
    assert batch["id"] == ["p0", "p1", "p2"] and batch["index"] == [0, 1, 2]
    assert batch["note"] == [0, 1, 2] and batch["correspondences"] == [matches] * 3
    assert "rng" not in batch
    for i, sample in enumerate(samples):
        assert np.array_equal(batch["person"][i].permute(1, 2, 0).numpy(), sample["person"])
        assert np.array_equal(batch["mask"][i, 0].numpy(), sample["mask"])


def test_a_key_that_one_sample_lacks_is_left_out():
    samples = [make_sample(0), make_sample(1)]
    del samples[1]["keypoints"]
    assert "keypoints" not in collate(samples)
    assert "keypoints" not in collate(samples[::-1])


def test_two_sizes_in_a_batch_are_named():
    with pytest.raises(ValueError, match=r"'person' of 'p0' .* of 'p1' \(4, 6, 3\).*`size`"):
        collate([make_sample(0), make_sample(1, size=(4, 6))])


def test_configs_can_name_it():
    assert FUNCTIONS.get("collate_samples") is collate
    assert FUNCTIONS.get("vtonlab.structures.sample.collate") is collate
