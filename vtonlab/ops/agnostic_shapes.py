"""Shapes of try-on areas, drawn from keypoints the way published data sets draw theirs.

Lengths are in units of a sixteenth of the shoulder width, so they follow the person's size. All
functions take ``points`` (25, 2) BODY_25 in pixels and ``known`` (25,) bool.
"""

from itertools import pairwise

import cv2
import numpy as np

# BODY_25 indices
NOSE, NECK, R_SHOULDER, R_ELBOW, R_WRIST, L_SHOULDER, L_ELBOW, L_WRIST = range(8)
MID_HIP, R_HIP, R_KNEE, R_ANKLE, L_HIP, L_KNEE, L_ANKLE = range(8, 15)
ARMS = ((R_SHOULDER, R_ELBOW, R_WRIST), (L_SHOULDER, L_ELBOW, L_WRIST))
LEGS = ((R_HIP, R_KNEE, R_ANKLE), (L_HIP, L_KNEE, L_ANKLE))


def shoulder_unit(points: np.ndarray, known: np.ndarray, height: int) -> float:
    """A sixteenth of the shoulder width, rounded up; without shoulders, of a fifth of the
    picture's height.
    """
    width = height / 5
    if known[R_SHOULDER] and known[L_SHOULDER]:
        width = np.linalg.norm(points[R_SHOULDER] - points[L_SHOULDER])
    return width // 16 + 1


def disc(mask: np.ndarray, centre: np.ndarray, radius: float, tall: float = 1.0) -> None:
    """An upright ellipse, ``tall`` times as high as wide."""
    axes = (max(1, round(radius)), max(1, round(radius * tall)))
    cv2.ellipse(mask, _pixel(centre), axes, 0, 0, 360, 1, -1)


def band(mask: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> None:
    """A straight band with square ends."""
    along = np.asarray(end, float) - start
    length = np.linalg.norm(along)
    if length < 1e-6:
        return
    side = np.array([-along[1], along[0]]) / length * (width / 2)
    corners = np.array([start + side, end + side, end - side, start - side])
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)


def limb(
    mask: np.ndarray, points: np.ndarray, known: np.ndarray, joints, width: float, end: float
) -> None:
    """Bands along joints with a disc at each; ``end`` is the radius of the last, 0 ends it flat."""
    for start, stop in pairwise(joints):
        if known[start] and known[stop]:
            band(mask, points[start], points[stop], width)
            radius = end if stop == joints[-1] else width / 2
            if radius:
                disc(mask, points[stop], radius)


def upper_body(mask: np.ndarray, points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Draw VITON-HD's area on ``mask``: trunk with hips as wide as the shoulders, neck, arms.

    Its measures were fitted to the masks that the data set ships.

    Returns:
        ``(2, H, W)`` uint8: the left and the right arm to the wrist; arm pixels beyond are hands.
    """
    unit = shoulder_unit(points, known, mask.shape[0])
    points = _wide_hips(points, known)
    for shoulder, hip in ((R_SHOULDER, R_HIP), (L_SHOULDER, L_HIP)):
        if known[hip]:
            disc(mask, points[hip], 3 * unit, tall=2.0)
            if known[shoulder]:
                band(mask, points[shoulder], points[hip], 6 * unit)
    if known[R_HIP] and known[L_HIP]:
        band(mask, points[R_HIP], points[L_HIP], 12 * unit)
    trunk = [points[k] for k in (R_SHOULDER, L_SHOULDER, L_HIP, R_HIP) if known[k]]
    if len(trunk) >= 3:
        cv2.fillPoly(mask, [np.rint(trunk).astype(np.int32)], 1)
    if known[R_SHOULDER] and known[L_SHOULDER]:
        band(mask, points[R_SHOULDER], points[L_SHOULDER], 12 * unit)
    arms = np.zeros((2, *mask.shape), np.uint8)
    for arm, joints in zip(arms, (ARMS[1], ARMS[0]), strict=True):
        if known[joints[0]]:
            disc(mask, points[joints[0]], 5 * unit, tall=1.2)
            disc(arm, points[joints[0]], 5 * unit, tall=1.2)
        limb(mask, points, known, joints, 10 * unit, end=5 * unit)
        limb(arm, points, known, joints, 10 * unit, end=4 * unit)
    if known[NECK]:
        x, y = points[NECK]
        corners = (_pixel((x - 5 * unit, y - 9 * unit)), _pixel((x + 5 * unit, y)))
        cv2.rectangle(mask, *corners, 1, -1)
    return arms


def sleeves(mask: np.ndarray, points: np.ndarray, known: np.ndarray, width: float) -> np.ndarray:
    """Draw Dress Code's arms on ``mask``, lines of one width from shoulder to shoulder and wrist.

    Returns:
        as `upper_body`.
    """
    arms = np.zeros((2, *mask.shape), np.uint8)
    for arm, joints in zip(arms, (ARMS[1], ARMS[0]), strict=True):
        limb(arm, points, known, joints, width, end=width / 2)
    if known[R_SHOULDER] and known[L_SHOULDER]:
        band(mask, points[R_SHOULDER], points[L_SHOULDER], width)
    np.maximum(mask, arms.max(0), out=mask)
    return arms


def _wide_hips(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Hips pulled apart to the shoulder width, about their middle."""
    moved = points.copy()
    pairs = (R_SHOULDER, L_SHOULDER, R_HIP, L_HIP)
    if not all(known[k] for k in pairs):
        return moved
    shoulders = np.linalg.norm(points[R_SHOULDER] - points[L_SHOULDER])
    hips = np.linalg.norm(points[R_HIP] - points[L_HIP])
    middle = (points[R_HIP] + points[L_HIP]) / 2
    for hip in (R_HIP, L_HIP):
        moved[hip] = middle + (points[hip] - middle) * (shoulders / max(hips, 1e-6))
    return moved


def _pixel(point) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


# a mask that hides every garment of a category --------------------------------------------------


def body_unit(points: np.ndarray, known: np.ndarray, height: int) -> float:
    """Trunk length in pixels, about half a metre; shoulder width stands in, then a fifth of the
    picture.
    """
    if known[NECK] and known[MID_HIP]:
        return float(np.linalg.norm(points[NECK] - points[MID_HIP]))
    if known[L_SHOULDER] and known[R_SHOULDER]:
        return 1.5 * float(np.linalg.norm(points[L_SHOULDER] - points[R_SHOULDER]))
    return 0.3 * height


def _fill_hull(mask: np.ndarray, points: np.ndarray) -> None:
    if len(points) >= 3:
        hull = cv2.convexHull(np.asarray(points, np.float32))
        cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1)


def _pixels(mask: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(mask)
    return np.stack([x, y], axis=1).astype(np.float32)


def add_trunk(mask, skin, points, known, unit) -> None:
    """Hull of shoulders, hips and bare trunk, down past any ordinary hem, and the neck opening."""
    trunk = [points[k] for k in (L_SHOULDER, R_SHOULDER, L_HIP, R_HIP, NECK) if known[k]]
    for hip, side in ((L_HIP, L_SHOULDER), (R_HIP, R_SHOULDER)):
        if known[hip] and known[side]:
            down = points[MID_HIP] - points[NECK] if known[MID_HIP] and known[NECK] else None
            down = np.array([0.0, unit]) if down is None else down
            outwards = 0.25 * (points[hip] - (points[L_HIP] + points[R_HIP]) / 2)
            trunk += [points[hip] + outwards + 0.22 * down, points[hip] + outwards]
    bare = list(_outline(_pixels(skin)))
    _fill_hull(mask, np.array(trunk + bare, np.float32).reshape(-1, 2))


def _outline(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points)[:, 0] if len(points) >= 3 else points


def add_legs(mask, legs, points, known, unit) -> None:
    """Hull of the garment, both legs and their joints, from the waist down to the ankles."""
    lower = _pixels(legs)
    if known[MID_HIP]:
        waist = points[MID_HIP, 1] - 0.45 * unit
        lower = lower[lower[:, 1] >= waist]
    joints = []
    for side, chain in ((1, (L_HIP, L_KNEE, L_ANKLE)), (-1, (R_HIP, R_KNEE, R_ANKLE))):
        for k in chain:
            if known[k]:
                reach = 0.22 if k in (L_HIP, R_HIP) else 0.14
                joints += [points[k] + [side * reach * unit, 0], points[k] - [side * 0.1 * unit, 0]]
        if known[chain[0]]:
            joints.append(points[chain[0]] + [side * 0.2 * unit, -0.28 * unit])
    _fill_hull(mask, np.concatenate([np.array(joints, np.float32).reshape(-1, 2), _outline(lower)]))


def add_arms(mask, points, known, unit) -> None:
    """Capsules from shoulder to wrist, wide enough for a loose sleeve."""
    for chain in ((L_SHOULDER, L_ELBOW, L_WRIST), (R_SHOULDER, R_ELBOW, R_WRIST)):
        for start, end, share in ((chain[0], chain[1], 0.26), (chain[1], chain[2], 0.20)):
            if known[start] and known[end]:
                a, b = (tuple(round(float(c)) for c in points[k]) for k in (start, end))
                cv2.line(mask, a, b, 1, max(1, round(share * unit)), cv2.LINE_8)


def hands(arms, points, known, unit) -> np.ndarray:
    """(H, W) bool: pixels of the left and right ``arms`` (bool each) beyond the wrists."""
    height, width = arms[0].shape
    y, x = np.mgrid[:height, :width]
    found = np.zeros((height, width), bool)
    for arm, elbow, wrist in zip(arms, (L_ELBOW, R_ELBOW), (L_WRIST, R_WRIST), strict=True):
        if known[elbow] and known[wrist]:
            along = points[wrist] - points[elbow]
            length = np.linalg.norm(along) + 1e-6
            fore = max(length, 0.3 * unit)  # foreshortened arms point anywhere: keep a minimum
            dx, dy = x + 0.5 - points[wrist, 0], y + 0.5 - points[wrist, 1]
            beyond = (dx * along[0] + dy * along[1]) / length > 0.06 * fore
            near = np.hypot(dx, dy) < 0.5 * unit
            found |= arm & beyond & near
    return found
