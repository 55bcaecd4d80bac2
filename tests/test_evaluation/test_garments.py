"""Metrics of garment, colour, preservation and attention entropy against brute force."""

import numpy as np
import pytest
import torch
from rendered import distorted, smooth_picture
from skimage.color import deltaE_ciede2000, rgb2lab

from vtonlab.evaluation import (
    AttentionEntropy,
    ColourFidelity,
    GarmentSimilarity,
    MaskLeak,
    NotComputableError,
    Preservation,
    WarpedGarmentIoU,
)
from vtonlab.structures import FlowField


def boxes(top, left, height, width, size=(48, 36)):
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def sample(**extra):
    target = smooth_picture(0, (48, 36))
    found = dict(
        id="a",
        garment_id="b",
        image=distorted(target),
        target=target,
        person=target,
        mask=boxes(10, 8, 20, 18),
        worn_mask=boxes(12, 10, 22, 12),
        garment=smooth_picture(1, (40, 40)),
        garment_mask=boxes(5, 5, 30, 20, (40, 40)),
    )
    return found | extra


def value(metric, *samples):
    metric.process({}, list(samples))
    return metric.compute_metrics(metric.results)


def test_miou_is_brute_force():
    rng = np.random.default_rng(0)
    pairs, expected = [], []
    for _ in range(5):
        first, second = (rng.random((9, 7)) < 0.4 for _ in range(2))
        both = sum(a and b for a, b in zip(first.flat, second.flat, strict=True))
        either = sum(a or b for a, b in zip(first.flat, second.flat, strict=True))
        expected.append(100 * both / either)
        masks = dict(warped_mask=first.astype(np.uint8), worn_mask=second.astype(np.uint8))
        pairs.append(dict(id="a", garment_id="b", **masks))
    empty = np.zeros((9, 7), np.uint8)
    pairs.append(dict(id="e", garment_id="e", warped_mask=empty, worn_mask=empty))
    assert value(WarpedGarmentIoU(), *pairs)["warp_miou"] == pytest.approx(np.mean(expected))


def test_colour_difference_pixel_by_pixel():
    one = sample()
    found = value(ColourFidelity(), one)
    inside = np.argwhere(one["worn_mask"])
    lab = {k: rgb2lab(one[k]) for k in ("image", "target")}
    each = [deltaE_ciede2000(lab["image"][y, x], lab["target"][y, x]) for y, x in inside]
    assert found["delta_e"] == pytest.approx(np.mean(each))
    assert found["delta_e_mean_colour"] < found["delta_e"]


def test_a_wrong_dye_is_seen_and_a_moved_pattern_forgiven():
    dyed = sample()
    dyed["image"] = dyed["target"].copy()
    dyed["image"][..., 0] = np.clip(dyed["image"][..., 0].astype(int) + 60, 0, 255)
    moved = sample(worn_mask=np.ones((48, 36), np.uint8))
    moved["image"] = np.roll(moved["target"], 3, axis=1)
    assert value(ColourFidelity(), dyed)["delta_e_mean_colour"] > 8
    assert value(ColourFidelity(), moved)["delta_e_mean_colour"] < 1e-6
    assert value(ColourFidelity(), sample(worn_mask=boxes(0, 0, 0, 0)))["delta_e"] is None


def test_preservation_looks_outside_alone():
    one = sample()
    one["image"] = one["person"].copy()
    one["image"][one["mask"] == 1] = 0
    perfect = value(Preservation(), one)
    assert perfect["psnr_outside"] == 100 and perfect["l1_outside"] == 0
    worse = value(Preservation(), sample())
    two = sample()
    outside = two["mask"] == 0
    errors = two["image"][outside].astype(float) - two["person"][outside]
    assert worse["l1_outside"] == pytest.approx(np.abs(errors).mean() / 255)
    assert worse["psnr_outside"] == pytest.approx(10 * np.log10(255**2 / (errors**2).mean()))
    assert worse["ssim_outside"] < perfect["ssim_outside"] <= 1


def test_mask_leak_counts_worn_pixels():
    one = sample()
    seen = (
        sum(one["mask"][y, x] == 0 for y, x in np.argwhere(one["worn_mask"]))
        / one["worn_mask"].sum()
    )
    assert value(MaskLeak(), one)["mask_leak"] == pytest.approx(100 * seen)
    assert value(MaskLeak(), sample(mask=np.ones((48, 36), np.uint8)))["mask_leak"] == 0


@pytest.mark.parametrize("kind", ["dino", "clip"])
def test_the_same_garment_is_most_alike(kind, weights):
    one = sample(mask=boxes(5, 5, 30, 20), worn_mask=boxes(5, 5, 30, 20))
    flat = smooth_picture(3, (48, 36))
    one |= dict(image=flat, garment=flat, garment_mask=one["mask"])
    assert value(GarmentSimilarity(features=kind), one)[f"{kind}_garment_similarity"] == (
        pytest.approx(1, abs=1e-5)
    )
    other = one | dict(image=smooth_picture(9, (48, 36)))
    assert value(GarmentSimilarity(features=kind), other)[f"{kind}_garment_similarity"] < 1


def attention(entropy, grid=(4, 3)):
    return {"block": dict(entropy=entropy, grids=(grid, grid))}


def test_attention_entropy_is_relative_and_over_visible_queries():
    even = torch.full((12,), float(np.log(12)))
    one = dict(id="a", garment_id="b", attention=attention(even))
    assert value(AttentionEntropy(), one)["attention_entropy"] == pytest.approx(1)
    half = even.clone()
    half[:6] = 0
    visible = torch.zeros(16, 12, dtype=torch.bool)
    visible[:8] = True
    flow = FlowField(torch.rand(16, 12, 2), visible)
    one = dict(id="a", garment_id="b", attention=attention(half), flow=flow)
    found = value(AttentionEntropy(layers=["block"]), one)
    assert found["attention_entropy"] == found["attention_entropy/block"] == 0
    with pytest.raises(NotComputableError, match="none of the probe's"):
        value(AttentionEntropy(layers=["other"]), one)


def test_a_map_that_is_not_there():
    one = sample()
    del one["worn_mask"]
    with pytest.raises(NotComputableError, match="MaskLeak needs worn_mask of 'a'"):
        MaskLeak().process({}, [one])
