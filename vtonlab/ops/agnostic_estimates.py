"""Two estimates of the area to generate, and what is made of them: ``tight`` and ``wide`` masks.

After the masks CORAL's release recomputes for its tests (METHODS.md 1.5): a tight one where people
keep their own garment, a wide one where they get another. Lengths are in pixels of a picture of
height 512 and follow the height. The release runs a second parser (ATR labels) beside the data
set's labels; here one label map serves both.
"""

import cv2
import numpy as np

from vtonlab.ops import agnostic_shapes as shapes
from vtonlab.ops.agnostic_shapes import ARMS, L_SHOULDER, R_SHOULDER

# LIP labels
HAT, HAIR, SUNGLASSES, UPPER, DRESS, COAT, SOCKS, PANTS, NECK_SKIN = 1, 2, 4, 5, 6, 7, 8, 9, 10
SCARF, SKIRT, FACE, LEFT_ARM, RIGHT_ARM, LEFT_LEG, RIGHT_LEG = 11, 12, 13, 14, 15, 16, 17
SHOES, LEGS = (18, 19), (LEFT_LEG, RIGHT_LEG)
LOWER = (SOCKS, PANTS, SKIRT, *LEGS, *SHOES)
# DensePose parts
_HAND_PARTS, _ARM_PARTS = (3, 4), tuple(range(15, 23))


def estimated_mask(
    parse: np.ndarray,
    points: np.ndarray,
    known: np.ndarray,
    category: str,
    densepose: np.ndarray | None,
    *,
    tight: bool,
) -> np.ndarray:
    """Mask (H, W) uint8, 1 = to be generated.

    Args:
        parse: (H, W) LIP labels.
        points, known: BODY_25 in pixels (25, 2), and which of them are known (25,).
        category: of the garment; upper bodies follow the rule for VITON-HD, others that for Dress
            Code.
        densepose: (H, W) parts 0 to 24, or None.
        tight: for upper bodies the area both estimates agree on, and closer arms.
    """
    if category != "upper_body":
        return _lower_or_dress(parse, points, known, category, densepose, tight)
    mask = _from_labels(parse, points, known, densepose, tight)
    return mask & _from_keypoints(parse, points, known) if tight else mask


def _from_labels(parse, points, known, densepose, tight) -> np.ndarray:
    """Upper body: labels of garment, neck and arms, and DensePose's arms."""
    unit = parse.shape[0] / 512
    arms = np.isin(parse, (LEFT_ARM, RIGHT_ARM)) | _arm_parts(densepose, unit)
    area = grow(np.isin(parse, (UPPER, DRESS, COAT)), 5 * unit)
    area |= grow(arms, (14 if tight else 20) * unit)
    hands = _beyond(parse, _drawn_arms(parse, points, known, 60 * unit, reach=1.2))
    if densepose is not None:
        hands &= np.isin(densepose, _HAND_PARTS)
    return _finish(area, parse, LOWER, hands, unit)


def _from_keypoints(parse, points, known) -> np.ndarray:
    """Upper body: the garment's label grown widely, and arms drawn from joint to joint."""
    unit = parse.shape[0] / 512
    drawn = _drawn_arms(parse, points, known, 60 * unit, reach=1.2)
    area = grow(np.isin(parse, (UPPER, DRESS)), 22 * unit) | grow(drawn.any(0), 8 * unit)
    return _finish(area, parse, (PANTS, SKIRT, *SHOES), _beyond(parse, drawn), unit)


def _finish(area, parse, lower, hands, unit) -> np.ndarray:
    """Add the neck, keep head, hands and what is worn below (but for its border), fill holes and
    take the largest piece.
    """
    head = np.isin(parse, (HAT, SUNGLASSES, FACE))
    area = area | (grow(parse == NECK_SKIN, 2 * unit) & ~head)
    kept = ~grow(~(np.isin(parse, lower) | hands), 2 * unit) | head
    mask = largest_piece(fill_holes(area & ~kept))
    mask[hands | head] = 0
    return mask


def _arm_parts(densepose: np.ndarray | None, unit: float) -> np.ndarray | bool:
    """DensePose's arms without thin lines: the edges of a JPEG's colours read as any part."""
    if densepose is None:
        return False
    arms = np.isin(densepose, _ARM_PARTS)
    return grow(~grow(~arms, 2 * unit), 2 * unit)


def _lower_or_dress(parse, points, known, category, densepose, tight) -> np.ndarray:
    unit, dress = parse.shape[0] / 512, category == "dresses"
    labels = (DRESS, *LEGS) if dress else (PANTS, SKIRT, *LEGS)
    labels += (UPPER, COAT, SKIRT, PANTS) if dress and not tight else ()
    area = np.isin(parse, labels)
    head = np.isin(parse, (HAT, HAIR, SUNGLASSES, FACE, NECK_SKIN))
    kept = np.isin(parse, (HAIR, HAT, SUNGLASSES, SCARF, *SHOES))
    if dress:
        arms = _arm_area(parse, points, known, densepose, tight, unit)
        kept |= np.isin(parse, (LEFT_ARM, RIGHT_ARM)) & ~arms
        shown = head & _above_shoulders(points, known, parse.shape, 20 * unit)
        area |= arms | (head & ~shown)
    else:
        kept |= np.isin(parse, (UPPER, COAT, LEFT_ARM, RIGHT_ARM))
        shown = head
    mask = (grow(area, 24 * unit) & ~kept & ~shown).astype(np.uint8)
    if tight:
        return mask
    mask = fill_holes(mask)
    mask = mask if dress else _close_legs(mask)
    fixed = np.isin(parse, (HAT, HAIR, SUNGLASSES, *SHOES))
    mask[~grow(~fixed, unit / 2)] = 0
    up, down, aside = (7.5, 6.5, 0) if dress else (2.5, 2.5, 6.5)
    return _stretch(mask, up * unit, down * unit, aside * unit)


def _arm_area(parse, points, known, densepose, tight, unit) -> np.ndarray:
    if tight:
        drawn = np.zeros(parse.shape, np.uint8)
        shapes.sleeves(drawn, points, known, 15 * unit)
        return grow(drawn > 0, 11 * unit)
    bare = np.isin(parse, (LEFT_ARM, RIGHT_ARM))
    hands = np.zeros_like(bare)
    area = bare | _arm_parts(densepose, unit)
    if densepose is not None:
        hands = bare & np.isin(densepose, _HAND_PARTS)
    return grow(area & ~grow(hands, 5 * unit), 16 * unit)


def _drawn_arms(parse, points, known, width, reach) -> np.ndarray:
    """(2, H, W) bool, left and right arm from shoulder to ``reach`` times the forearm; the label's
    where the wrist is not known.
    """
    arms = np.zeros((2, *parse.shape), np.uint8)
    for arm, joints, label in zip(arms, (ARMS[1], ARMS[0]), (LEFT_ARM, RIGHT_ARM), strict=True):
        shoulder, elbow, wrist = joints
        if not known[wrist]:
            arm[parse == label] = 1
            continue
        moved = points.copy()
        if known[elbow]:
            moved[wrist] = points[elbow] + reach * (points[wrist] - points[elbow])
        if known[shoulder]:
            shapes.disc(arm, points[shoulder], width / 2)
        shapes.limb(arm, moved, known, joints, width, end=0)
    return arms > 0


def _beyond(parse: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(H, W) bool: each arm's label where its drawn arm does not reach."""
    return ((parse == LEFT_ARM) & ~drawn[0]) | ((parse == RIGHT_ARM) & ~drawn[1])


def _above_shoulders(points, known, shape, distance) -> np.ndarray:
    """(H, W) bool: above a line parallel to the shoulders; everywhere where they are not known."""
    if not (known[R_SHOULDER] and known[L_SHOULDER]):
        return np.ones(shape, bool)
    (x0, y0), (x1, y1) = points[R_SHOULDER], points[L_SHOULDER]
    slope = (y1 - y0) / (x1 - x0) if abs(x1 - x0) > 1e-6 else 0.0
    line = y0 + slope * (np.arange(shape[1]) - x0) - distance
    return np.arange(shape[0])[:, None] < np.trunc(line)[None]


def _close_legs(mask: np.ndarray) -> np.ndarray:
    """Close the gap between the legs: below 55 % of the height, in the middle half."""
    height, width = mask.shape
    kernel = np.ones((max(9, height // 40 | 1), max(9, width // 10 | 1)), np.uint8)
    top, half = int(height * 0.55), max(20, width // 4)
    left, right = max(0, width // 2 - half), min(width, width // 2 + half)
    closed = mask.copy()
    lower = cv2.morphologyEx(mask[top:], cv2.MORPH_CLOSE, kernel)
    closed[top:, left:right] = lower[:, left:right]
    return closed


def _stretch(mask: np.ndarray, up: float, down: float, aside: float) -> np.ndarray:
    """Each pixel's mark carried ``up``, ``down`` and ``aside`` pixels."""
    up, down, aside = round(up), round(down), round(aside)
    kernel = np.zeros((2 * max(up, down) + 1, 2 * aside + 1), np.uint8)
    middle = max(up, down)
    kernel[middle - down : middle + up + 1] = 1
    return cv2.dilate(mask, kernel)


def grow(area: np.ndarray, radius: float) -> np.ndarray:
    """(H, W) bool grown by a square of ``radius`` pixels, rounded; pixels outside count as off."""
    side = 2 * round(radius) + 1
    return cv2.dilate(area.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def fill_holes(area: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8 with all that its background, seen from outside the picture, does not
    reach.
    """
    around = np.pad(area.astype(np.uint8), 1)
    cv2.floodFill(around, None, (0, 0), 2)
    return (around[1:-1, 1:-1] != 2).astype(np.uint8)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The connected piece (8 neighbours) with the most pixels; (H, W) uint8."""
    count, pieces, facts, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return mask.copy()
    return (pieces == 1 + facts[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
