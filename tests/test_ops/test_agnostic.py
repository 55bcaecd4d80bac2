"""The agnostic mask on drawn figures, whose every pixel is known."""

import cv2
import numpy as np
import pytest

from vtonlab.ops import agnostic as lip
from vtonlab.ops.agnostic import agnostic_mask, agnostic_picture

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
