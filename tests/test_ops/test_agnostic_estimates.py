"""Tight and wide masks on a drawn figure, against loops over its pixels."""

import sys
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from vtonlab.ops import agnostic as lip
from vtonlab.ops import agnostic_estimates as estimates
from vtonlab.ops.agnostic import agnostic_mask, leak_score

sys.path.insert(0, str(Path(__file__).parent))
from test_agnostic import figure

HEIGHT, WIDTH = 150, 100
UNIT = HEIGHT / 512


def grown(area, radius):
    """Every pixel with a marked one in the square around it, by shifts."""
    radius, result = round(radius), np.zeros_like(area, bool)
    for y, x in zip(*np.nonzero(area), strict=True):
        result[
            max(0, y - radius) : y + radius + 1,
            max(0, x - radius) : x + radius + 1,
        ] = True
    return result


def flooded(area, start, diagonal):
    """Pixels of ``area`` that a walk from ``start`` reaches."""
    seen, waiting = np.zeros_like(area, bool), deque([start])
    steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if diagonal or (y == 0) != (x == 0)]
    seen[start] = True
    while waiting:
        y, x = waiting.popleft()
        for dy, dx in steps:
            place = y + dy, x + dx
            inside = 0 <= place[0] < area.shape[0] and 0 <= place[1] < area.shape[1]
            if inside and area[place] and not seen[place]:
                seen[place] = True
                waiting.append(place)
    return seen


def finished(area):
    """Holes filled, then the largest piece."""
    outside = flooded(~np.pad(area, 1), (0, 0), diagonal=False)[1:-1, 1:-1]
    area, best = ~outside, np.zeros_like(area)
    left = area.copy()
    while left.any():
        piece = flooded(left, tuple(np.argwhere(left)[0]), diagonal=True)
        best = piece if piece.sum() > best.sum() else best
        left &= ~piece
    return best


def parts_of(parse):
    """DensePose of the figure: arms, hands beyond the wrists, trunk."""
    parts = np.zeros_like(parse)
    parts[parse == lip.UPPER] = 2
    for label, arm, hand in ((lip.LEFT_ARM, 19, 3), (lip.RIGHT_ARM, 20, 4)):
        parts[parse == label] = arm
        rows = np.arange(HEIGHT)[:, None] > 77
        parts[(parse == label) & rows] = hand
    return parts


def reference(parse, densepose, drawn, tight):
    """The rule for upper bodies, written out; ``drawn``: arms from keypoints."""
    head = np.isin(parse, (lip.HAT, lip.SUNGLASSES, lip.FACE))
    neck = grown(parse == lip.JUMPSUIT, 2 * UNIT) & ~head
    labels = (lip.LEFT_ARM, lip.RIGHT_ARM)
    beyond = ((parse == labels[0]) & ~drawn[0]) | ((parse == labels[1]) & ~drawn[1])
    shoes = (lip.LEFT_SHOE, lip.RIGHT_SHOE)

    def close(area, lower, hands):
        kept = np.isin(parse, lower) | hands
        kept = ~grown(~kept, 2 * UNIT) | head
        mask = finished((area | neck) & ~kept)
        return mask & ~hands & ~head

    arms = (densepose >= 15) & (densepose <= 22)
    arms = grown(~grown(~arms, 2 * UNIT), 2 * UNIT) | np.isin(parse, labels)
    garment = np.isin(parse, (lip.UPPER, lip.DRESS, lip.COAT))
    first = grown(garment, 5 * UNIT) | grown(arms, (14 if tight else 20) * UNIT)
    lower = (lip.SOCKS, lip.PANTS, lip.SKIRT, lip.LEFT_LEG, lip.RIGHT_LEG, *shoes)
    mask = close(first, lower, beyond & np.isin(densepose, (3, 4)))
    if not tight:
        return mask
    second = grown(np.isin(parse, (lip.UPPER, lip.DRESS)), 22 * UNIT)
    second |= grown(drawn[0] | drawn[1], 8 * UNIT)
    return mask & close(second, (lip.PANTS, lip.SKIRT, *shoes), beyond)


@pytest.mark.parametrize("tight", [True, False])
@pytest.mark.parametrize("sleeve", [0.0, 0.3, 1.0])
def test_upper_bodies_against_loops(tight, sleeve):
    parse, keypoints = figure(sleeve=sleeve)
    parse[28:32, 46:54] = lip.JUMPSUIT
    parse[40:44, 48:52] = 0  # a hole in the garment
    parse[2:5, 2:5] = lip.UPPER  # a stray piece
    densepose = parts_of(parse)
    points = keypoints[:, :2] * (WIDTH, HEIGHT)
    drawn = estimates._drawn_arms(parse, points, keypoints[:, 2] > 0, 60 * UNIT, reach=1.2)
    mask = agnostic_mask(
        parse,
        keypoints,
        "upper_body",
        convention="tight" if tight else "wide",
        densepose=densepose,
    )
    assert np.array_equal(mask, reference(parse, densepose, drawn, tight).astype(np.uint8))
    assert mask[42, 50] == 1 and not mask[:8, :8].any()


def test_drawn_arms_end_flat_at_1_2_times_the_forearm():
    """Pixels nearer than half the width to the joints' lines, and none beyond the last."""
    parse, keypoints = figure()
    points, width = keypoints[:, :2] * (WIDTH, HEIGHT), 60 * UNIT
    left, right = estimates._drawn_arms(parse, points, np.ones(25, bool), width, reach=1.2)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for drawn, (shoulder, elbow, wrist) in ((left, (5, 6, 7)), (right, (2, 3, 4))):
        end = points[elbow] + 1.2 * (points[wrist] - points[elbow])
        distance = np.full(parse.shape, np.inf)
        for a, b in ((points[shoulder], points[elbow]), (points[elbow], end)):
            share = ((columns - a[0]) * (b - a)[0] + (rows - a[1]) * (b - a)[1]) / (
                (b - a) ** 2
            ).sum()
            share = share.clip(0, 1)
            distance = np.minimum(
                distance,
                np.hypot(columns - a[0] - share * (b - a)[0], rows - a[1] - share * (b - a)[1]),
            )
        along = (end - points[elbow]) / np.linalg.norm(end - points[elbow])
        beyond = (columns - end[0]) * along[0] + (rows - end[1]) * along[1]
        assert drawn[(distance < width / 2 - 1.5) & (beyond < -1.5)].all()
        assert not drawn[distance > width / 2 * 1.45].any()
        assert not drawn[(distance < width / 2 * 1.45) & (beyond > 1.5)].any()


def test_unknown_wrists_take_the_label():
    parse, keypoints = figure(sleeve=0.3)
    known = keypoints[:, 2] > 0
    known[4] = False
    points = keypoints[:, :2] * (WIDTH, HEIGHT)
    _, right = estimates._drawn_arms(parse, points, known, 60 * UNIT, reach=1.2)
    assert np.array_equal(right, parse == lip.RIGHT_ARM)


def test_the_tight_mask_lies_within_the_wide_one_and_both_hide_the_garment():
    for sleeve in (0.0, 0.5, 1.0):
        parse, keypoints = figure(sleeve=sleeve)
        tight, wide = (
            agnostic_mask(
                parse, keypoints, "upper_body", convention=name, densepose=parts_of(parse)
            )
            for name in ("tight", "wide")
        )
        assert not (tight & ~wide & 1).any() and tight.sum() < wide.sum()
        assert leak_score(tight, parse, "upper_body") == leak_score(wide, parse, "upper_body") == 0
        assert not wide[np.isin(parse, (lip.FACE,))].any()
        assert not wide[130:].any()


def test_lines_around_the_head_are_no_arms():
    """A DensePose picture's JPEG edges read as any part; only in wide spots are they believed."""
    parse, keypoints = figure()
    densepose = parts_of(parse)
    head = parse == lip.FACE
    ring = grown(head, 1) & ~head & (densepose == 0)
    ringed = np.where(ring, 17, densepose)
    for name in ("tight", "wide"):
        plain, mask = (
            agnostic_mask(parse, keypoints, "upper_body", convention=name, densepose=d)
            for d in (densepose, ringed)
        )
        assert not mask[head].any() and not mask[:18].any()
        assert np.array_equal(plain, mask)


def test_lower_bodies_and_dresses():
    parse, keypoints = figure()
    for name in ("tight", "wide"):
        lower = agnostic_mask(parse, keypoints, "lower_body", convention=name)
        assert leak_score(lower, parse, "lower_body") == 0
        upper_kept = np.isin(parse, (lip.UPPER, lip.LEFT_ARM, lip.RIGHT_ARM, lip.FACE))
        if name == "wide":  # fills holes and grows last, over what it keeps
            upper_kept[55:] = False
        assert upper_kept.any() and not lower[upper_kept].any()
    parse, keypoints = figure(upper=False, lower="skirt")
    parse[parse == lip.SKIRT] = lip.DRESS
    for name in ("tight", "wide"):
        mask = agnostic_mask(
            parse, keypoints, "dresses", convention=name, densepose=parts_of(parse)
        )
        assert leak_score(mask, parse, "dresses") == 0
        assert not mask[parse == lip.FACE][:60].any()


def test_growing_and_carrying_against_loops():
    area = np.random.default_rng(0).random((20, 17)) > 0.95
    for radius in (0.4, 1.0, 2.6):
        assert np.array_equal(estimates.grow(area, radius), grown(area, radius))
    carried = estimates._stretch(area.astype(np.uint8), 3, 1, 2)
    expected = np.zeros_like(carried)
    for y, x in zip(*np.nonzero(area), strict=True):
        expected[max(0, y - 3) : y + 2, max(0, x - 2) : x + 3] = 1
    assert np.array_equal(carried, expected)


def test_more_growth_can_be_asked_for():
    parse, keypoints = figure()
    one, two = (
        agnostic_mask(parse, keypoints, "upper_body", growth, convention="tight")
        for growth in (None, 0.03)
    )
    assert two[one == 1].all() and two.sum() > one.sum()
