"""The agnostic mask on drawn figures, whose every pixel is known."""

import cv2
import numpy as np
import pytest

from vtonlab.ops import agnostic as lip
from vtonlab.ops.agnostic import (
    CONVENTIONS,
    agnostic_mask,
    agnostic_picture,
    dilate,
    leak_score,
    worn_garment,
)
from vtonlab.ops.labels import atr_to_lip, lip_to_atr

JOINTS = {
    0: (50, 18), 1: (50, 32), 2: (36, 34), 3: (28, 56), 4: (24, 76), 5: (64, 34), 6: (72, 56),
    7: (76, 76), 8: (50, 80), 9: (42, 80), 10: (42, 112), 11: (42, 140), 12: (58, 80),
    13: (58, 112), 14: (58, 140),
}  # fmt: skip


def figure(upper=True, sleeve=1.0, lower="pants", hem=86):
    """Parse (150, 100) and keypoints of a standing figure; ``sleeve`` is the share of the arm that
    is covered.
    """
    parse = np.zeros((150, 100), np.uint8)
    joints = {k: np.array(v) for k, v in JOINTS.items()}
    for side, chain in ((lip.RIGHT_ARM, (2, 3, 4)), (lip.LEFT_ARM, (5, 6, 7))):
        start, bend, end = (joints[k] for k in chain)
        cv2.line(parse, start.tolist(), bend.tolist(), side, 9)
        cv2.line(parse, bend.tolist(), (end + (end - bend) // 3).tolist(), side, 8)
        cloth = lip.UPPER if upper else lip.DRESS
        if sleeve > 0:
            cv2.line(
                parse,
                start.tolist(),
                (start + (bend - start) * min(1, sleeve * 2)).astype(int).tolist(),
                cloth,
                11,
            )
        if sleeve > 0.5:
            cv2.line(
                parse,
                bend.tolist(),
                (bend + (end - bend) * (sleeve * 2 - 1)).astype(int).tolist(),
                cloth,
                10,
            )
    for side, chain in ((lip.RIGHT_LEG, (9, 10, 11)), (lip.LEFT_LEG, (12, 13, 14))):
        cv2.polylines(parse, [np.array([joints[k] for k in chain])], False, side, 11)
    if lower == "pants":
        for chain in ((9, 10, 11), (12, 13, 14)):
            cv2.polylines(parse, [np.array([joints[k] for k in chain])], False, lip.PANTS, 14)
    else:
        cv2.fillPoly(parse, [np.array([(38, 78), (62, 78), (68, 118), (32, 118)])], lip.SKIRT)
    cv2.fillPoly(
        parse,
        [np.array([(35, 30), (65, 30), (61, hem), (39, hem)])],
        lip.UPPER if upper else lip.DRESS,
    )
    cv2.circle(parse, (50, 18), 11, lip.FACE, -1)
    keypoints = np.zeros((25, 3), np.float32)
    for k, (x, y) in joints.items():
        keypoints[k] = x / 100, y / 150, 1
    return parse, keypoints


@pytest.mark.parametrize("category", ["upper_body", "lower_body", "dresses"])
def test_the_garment_is_hidden_and_the_face_is_not(category):
    parse, keypoints = figure()
    mask = agnostic_mask(parse, keypoints, category)
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
    hidden = {
        "upper_body": [lip.UPPER],
        "lower_body": [lip.PANTS],
        "dresses": [lip.UPPER, lip.PANTS],
    }
    assert mask[np.isin(parse, hidden[category])].all()
    assert not mask[parse == lip.FACE].any()
    assert mask[:, :3].sum() == 0 and mask.mean() < 0.7


def test_hands_stay_in_sight_and_arms_do_not():
    parse, keypoints = figure(sleeve=0.3)
    mask = agnostic_mask(parse, keypoints, "upper_body")
    assert mask[66, 26] == 1  # fore arm, bare in this picture
    assert mask[82, 23] == 0  # beyond the right wrist
    lower = agnostic_mask(parse, keypoints, "lower_body")
    assert not lower[np.isin(parse, (lip.LEFT_ARM, lip.RIGHT_ARM))].any()


def test_the_mask_does_not_tell_the_sleeve_or_the_kind_of_lower_garment():
    def overlap(a, b):
        return (a & b).sum() / (a | b).sum()

    masks = [agnostic_mask(*figure(sleeve=s), "upper_body") for s in (0.0, 0.3, 1.0)]
    assert overlap(masks[0], masks[1]) > 0.97 and overlap(masks[0], masks[2]) > 0.93
    hems = [agnostic_mask(*figure(hem=h), "upper_body") for h in (66, 84)]
    assert overlap(*hems) > 0.9
    lower = [agnostic_mask(*figure(lower=k), "lower_body") for k in ("pants", "skirt")]
    assert overlap(*lower) > 0.9


def test_unknown_points_are_left_out():
    parse, keypoints = figure()
    keypoints[:, 2] = 0
    mask = agnostic_mask(parse, keypoints, "upper_body")
    assert mask[parse == lip.UPPER].all() and not mask[parse == lip.FACE].any()
    assert not agnostic_mask(np.zeros((40, 30), np.uint8), keypoints, "dresses").any()


def test_mistakes_are_named():
    parse, keypoints = figure()
    with pytest.raises(ValueError, match="'shirt' is none of upper_body"):
        agnostic_mask(parse, keypoints, "shirt")
    with pytest.raises(ValueError, match=r"\(18, 3\)"):
        agnostic_mask(parse, keypoints[:18], "dresses")


def test_the_picture_is_grey_inside_and_untouched_outside():
    person = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    mask = np.eye(4, dtype=np.uint8)
    picture = agnostic_picture(person, mask)
    assert (picture[mask == 1] == 128).all() and (picture[mask == 0] == person[mask == 0]).all()


class TestConventions:
    @pytest.mark.parametrize("convention", ["vitonhd", "dresscode"])
    def test_upper_bodies(self, convention):
        parse, keypoints = figure(sleeve=0.3)
        mask = agnostic_mask(parse, keypoints, "upper_body", convention=convention)
        assert leak_score(mask, parse, "upper_body") == 0
        assert mask[66, 26] == 1 and mask[85, 22] == 0  # fore arm; beyond the right wrist
        assert not mask[parse == lip.FACE][:100].any()
        assert not mask[np.isin(parse, (lip.PANTS, lip.LEFT_LEG))].any()
        again = agnostic_mask(parse, keypoints, "upper_body", convention=convention, dilation=0.06)
        assert again[mask == 1].all() and again.sum() > mask.sum()

    def test_the_lower_half_of_dress_code(self):
        parse, keypoints = figure()
        mask = agnostic_mask(parse, keypoints, "lower_body", convention="dresscode")
        assert mask[np.isin(parse, (lip.PANTS, lip.LEFT_LEG, lip.RIGHT_LEG))].all()
        assert not mask[np.isin(parse, (lip.UPPER, lip.LEFT_ARM, lip.FACE))].any()
        whole = agnostic_mask(parse, keypoints, "dresses", convention="dresscode")
        assert whole[np.isin(parse, (lip.PANTS, lip.UPPER))].all()

    def test_a_neck_that_is_labelled_face_is_hidden(self):
        parse, keypoints = figure()
        parse[24:34, 46:54] = lip.FACE  # ATR has no neck
        keypoints[0] = 18 / 150, 18 / 150, 1
        keypoints[0, 0] = 50 / 100
        mask = agnostic_mask(parse, keypoints, "upper_body", convention="dresscode")
        assert mask[31, 50] == 1 and mask[12, 50] == 0

    def test_vitonhd_is_for_upper_bodies(self):
        parse, keypoints = figure()
        for category in ("lower_body", "dresses"):
            with pytest.raises(ValueError, match="is for upper bodies, not for"):
                agnostic_mask(parse, keypoints, category, convention="vitonhd")
        with pytest.raises(ValueError, match="convention 'viton' is none of full"):
            agnostic_mask(parse, keypoints, "dresses", convention="viton")

    @pytest.mark.parametrize("convention", ["full", "dresscode"])
    @pytest.mark.parametrize("category", ["upper_body", "lower_body"])
    def test_a_worn_dress_is_hidden_whole_whatever_comes_instead(self, convention, category):
        parse, keypoints = figure(upper=False, lower="skirt", hem=118)
        parse[parse == lip.SKIRT] = lip.DRESS
        mask = agnostic_mask(parse, keypoints, category, convention=convention)
        assert leak_score(mask, parse, "dresses") == 0
        whole = agnostic_mask(parse, keypoints, "dresses", convention=convention)
        assert np.array_equal(mask, whole)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_a_box_leaves_no_outline_but_the_head(self, convention):
        parse, keypoints = figure(sleeve=0.3)
        plain = agnostic_mask(parse, keypoints, "upper_body", convention=convention)
        mask = agnostic_mask(parse, keypoints, "upper_body", convention=convention, box=True)
        rows, columns = np.nonzero(plain)
        filled = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        head = np.isin(parse, (lip.FACE, lip.HAIR))
        assert (filled == 1).sum() + head.sum() >= filled.size and mask[plain == 1].all()
        assert mask.sum() == filled.sum()
        nobody = np.zeros((40, 30), np.uint8)
        assert not agnostic_mask(nobody, np.zeros((25, 3)), "upper_body", box=True).any()

    @pytest.mark.parametrize("convention", ["full", "vitonhd", "dresscode"])
    def test_densepose_finds_arms_without_keypoints_and_tells_hands(self, convention):
        parse, keypoints = figure(sleeve=0.0)
        parts = np.zeros_like(parse)
        parts[parse == lip.RIGHT_ARM], parts[parse == lip.LEFT_ARM] = 16, 15
        parts[76:][parts[76:] > 0] = 3
        keypoints[[3, 4, 6, 7]] = 0
        options = dict(convention=convention)
        blind = agnostic_mask(parse, keypoints, "upper_body", **options)
        mask = agnostic_mask(parse, keypoints, "upper_body", densepose=parts, **options)
        arm = np.isin(parts, (15, 16))
        assert not blind[arm].all() and mask[arm].all() and not mask[parts == 3].any()
        with pytest.raises(ValueError, match="use one size"):
            agnostic_mask(parse, keypoints, "upper_body", densepose=parts[:-1], **options)


def test_leak_score_by_hand():
    parse = np.zeros((10, 10), np.uint8)
    parse[2:6, 2:6] = lip.UPPER
    mask = np.zeros_like(parse)
    mask[2:6, 2:5] = 1
    assert leak_score(mask, parse, "upper_body") == 0.25
    assert leak_score(mask, parse, "lower_body") == 0
    assert worn_garment(parse, "upper_body").sum() == 16


def test_dilation_is_a_disc():
    mask = np.zeros((21, 21), np.uint8)
    mask[10, 10] = 1
    grown = dilate(mask, 5)
    assert grown[10, 15] == 1 and grown[10, 16] == 0 and grown[5, 5] == 0
    assert dilate(mask, 0) is mask


@pytest.mark.real_data
class TestRealData:
    def test_built_masks_agree_with_vitonhds(self, real_data):
        """Acceptance of issue 7: IoU at least 0.90 on average, no leak."""
        from vtonlab.datasets import VITONHDDataset

        maps = ("mask", "parse", "keypoints")
        data = VITONHDDataset(
            data_root=str(real_data / "vitonhd_mini"), split="test", size=None, maps=maps
        )
        overlaps = []
        for sample in data:
            shipped, parse = sample["mask"], sample["parse"]
            built = agnostic_mask(parse, sample["keypoints"], "upper_body", convention="vitonhd")
            overlaps.append((built & shipped).sum() / (built | shipped).sum())
            assert leak_score(built, parse, "upper_body") == 0
            leak = leak_score(shipped, parse, "upper_body")
            assert (leak > 0) == (sample["id"] == "00006_00") and leak < 0.006
        print(f"IoU with the shipped masks: {np.round(overlaps, 3)}, mean {np.mean(overlaps):.4f}")
        assert np.mean(overlaps) > 0.98 and min(overlaps) > 0.97

    def test_dress_codes_people(self, real_data):
        from PIL import Image

        from vtonlab.datasets.readers.reading import read_keypoints

        root = real_data / "dresscode_sample"
        for path in sorted(root.glob("*/label_maps/*_4.png")):
            category, name = path.parent.parent.name, path.name[:6]
            parse = atr_to_lip(np.array(Image.open(path)))
            keypoints = read_keypoints(root / category / f"keypoints/{name}_2.json", parse.shape)
            for convention in ("full", "dresscode"):
                mask = agnostic_mask(parse, keypoints, category, convention=convention)
                assert leak_score(mask, parse, category) < 0.001, (name, convention)
                assert 0.1 < mask.mean() < 0.7
                head = (lip_to_atr(parse) == 11) & (np.arange(len(parse))[:, None] < 20)
                assert not mask[head].any()
