"""Copy bound and share of the way, against a loop that shares no code."""

import math

import numpy as np
import pytest
import torch

from vtonlab.evaluation import ImageErrors
from vtonlab.evaluation.bounds import (
    copied_picture,
    mean_colour_fill,
    plain_picture,
    share_of_the_way,
)
from vtonlab.registry import DATASETS
from vtonlab.structures import FlowField


@pytest.fixture(scope="module")
def sample():
    return DATASETS.build(
        dict(type="SyntheticTryOn", split="val", size=(48, 36), categories=["upper_body"])
    )[3]


def copied_by_hand(garment, target, mask, flow, visible, patch):
    """Pixel by pixel; the centre of a square lies between pixels, so its truth is their blend."""
    height, width = mask.shape
    out = target.copy()
    for y in range(height):
        for x in range(width):
            top, left = y // patch * patch, x // patch * patch
            low_y, low_x = top + patch // 2 - 1, left + patch // 2 - 1
            around = [(low_y + b, low_x + a) for b in (0, 1) for a in (0, 1)]
            points = np.array([flow[place] for place in around])
            seen = visible[around[3]]  # the nearest of four equally near: the lower right one
            centre = flow[around[3]]
            apart = np.ptp(points, axis=0).max()
            if all(visible[place] for place in around) and apart < 4 / max(height, width):
                centre, seen = points.mean(0), True
            if not (seen and visible[y, x] and mask[y, x]):
                continue
            from_x = min(max(int(np.rint(centre[0] * width - patch / 2)), 0), width - patch)
            from_y = min(max(int(np.rint(centre[1] * height - patch / 2)), 0), height - patch)
            out[y, x] = garment[from_y + y - top, from_x + x - left]
    return out


def test_copied_picture_equals_a_loop(sample):
    parts = (sample["garment"], sample["person"], sample["mask"], sample["flow"])
    flow = sample["flow"]
    expected = copied_by_hand(*parts[:3], flow.flow.numpy(), flow.visible.numpy(), 4)
    copied = copied_picture(*parts)
    same = (copied == expected).all(-1)
    # a square whose point rounds to either of two pixels may go either way in float32
    assert same.mean() > 0.995
    assert (expected != sample["person"]).any()
    outside = ~(flow.visible.numpy() & sample["mask"].astype(bool))
    assert np.array_equal(copied[outside], sample["person"][outside])


def test_an_identity_flow_copies_the_garment_itself():
    rng = np.random.default_rng(0)
    garment, target = rng.integers(0, 256, (2, 16, 12, 3), dtype=np.uint8)
    y, x = np.mgrid[:16, :12]
    flow = np.stack([(x + 0.5) / 12, (y + 0.5) / 16], -1)
    field = FlowField(torch.from_numpy(flow), torch.ones(16, 12, dtype=torch.bool))
    mask = np.zeros((16, 12), np.uint8)
    mask[4:, 2:7] = 1
    copied = copied_picture(garment, target, mask, field)
    assert np.array_equal(copied, np.where(mask[..., None] == 1, garment, target))


def test_both_ends_of_the_way(sample):
    """Painting one colour is 0, copying by the truth is 1, and the metric says so."""
    target, mask = sample["person"], sample["mask"]
    copied = copied_picture(sample["garment"], target, mask, sample["flow"])
    for picture, share in ((mean_colour_fill(target, mask), 0.0), (copied, 1.0)):
        metric = ImageErrors()
        metric.process({}, [{**sample, "image": picture, "target": target}])
        scores = metric.compute_metrics(metric.results)
        assert scores["share_of_the_way"] == pytest.approx(share, abs=1e-12)
    assert scores["l1_inside_copy"] < 0.5 * scores["l1_inside_fill"]


def test_share_of_the_way():
    assert math.isclose(share_of_the_way(0.1, 0.2, 0.05), 2 / 3)
    assert share_of_the_way(0.3, 0.2, 0.05) < 0
    assert share_of_the_way(0.1, 0.2, 0.2) is None


def test_without_a_known_flow_there_is_no_bound(sample):
    bare = {k: v for k, v in sample.items() if k != "flow"}
    metric = ImageErrors()
    metric.process({}, [{**bare, "image": sample["person"], "target": sample["person"]}])
    scores = metric.compute_metrics(metric.results)
    assert "share_of_the_way" not in scores and scores["l1_inside"] == 0


def test_the_print_is_measured_on_the_visible_garment_alone():
    """One colour for the garment scores 0, copying by the truth 1, whatever lies around it."""
    people = dict(type="SyntheticTryOn", split="val", size=(64, 48), categories=["upper_body"])
    sample = DATASETS.build(people | {"textures": "bold"})[0]
    target, mask, flow = sample["person"], sample["mask"], sample["flow"]
    plain = plain_picture(target, mask, flow)
    cloth = flow.visible.numpy() & mask.astype(bool)
    assert (plain[~cloth] == target[~cloth]).all() and len(np.unique(plain[cloth], axis=0)) == 1
    copied = copied_picture(sample["garment"], target, mask, flow)
    metric = ImageErrors()
    for image, share in ((plain, 0.0), (copied, 1.0)):
        row = metric.score(
            dict(image=image, target=target, mask=mask, flow=flow, garment=sample["garment"])
        )
        assert metric.compute_metrics([row])["share_of_the_print"] == pytest.approx(share, abs=1e-9)
    assert row["l1_inside_copy"] < row["l1_inside_plain"] < row["l1_inside_fill"]


def test_what_the_garment_owes_and_what_it_does_not_add_up(sample):
    """The mask's error is that of its cloth and that of the rest, by their areas; copying has no
    error in the rest.
    """
    target, mask, flow = sample["person"], sample["mask"], sample["flow"]
    noisy = np.random.default_rng(0).integers(0, 256, target.shape, np.uint8)
    known = dict(target=target, mask=mask, flow=flow, garment=sample["garment"])
    row = ImageErrors().score(known | dict(image=noisy))
    inside = mask.astype(bool)
    cloth = (flow.visible.numpy() & inside).sum() / inside.sum()
    parts = cloth * row["l1_cloth"] + (1 - cloth) * row["l1_rest"]
    assert row["l1_inside"] == pytest.approx(parts, rel=1e-12)
    copied = copied_picture(sample["garment"], target, mask, flow)
    assert ImageErrors().score(known | dict(image=copied))["l1_rest"] == 0
