"""The garment-agnostic picture: what must be hidden so that nothing tells which garment was worn.

One function for photographs (parse and keypoints from any tool) and for rendered people. Labels are
LIP's.
"""

import numpy as np

HAT, HAIR, UPPER, DRESS, COAT, SOCKS, PANTS, JUMPSUIT, SCARF, SKIRT, FACE = (
    1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13,
)  # fmt: skip
LEFT_ARM, RIGHT_ARM, LEFT_LEG, RIGHT_LEG, LEFT_SHOE, RIGHT_SHOE = 14, 15, 16, 17, 18, 19
SUNGLASSES, GLOVE = 4, 3
GARMENT_LABELS = {
    "upper_body": (UPPER, COAT, SCARF, DRESS),
    "lower_body": (PANTS, SKIRT, DRESS),
    "dresses": (UPPER, DRESS, COAT, SKIRT, PANTS, SCARF),
}
WORN_LABELS = {
    "upper_body": (UPPER, DRESS, COAT),
    "lower_body": (PANTS, SKIRT),
    "dresses": (UPPER, DRESS, COAT, SKIRT),
}
# BODY_25 indices
NECK, R_SHOULDER, R_ELBOW, R_WRIST, L_SHOULDER, L_ELBOW, L_WRIST = 1, 2, 3, 4, 5, 6, 7
MID_HIP, R_HIP, R_KNEE, R_ANKLE, L_HIP, L_KNEE, L_ANKLE = 8, 9, 10, 11, 12, 13, 14


def agnostic_mask(
    parse: np.ndarray, keypoints: np.ndarray, category: str, dilation: float = 0.035
) -> np.ndarray:
    """Area to generate: the worn garment, and all the area another garment of the category might
    take.

    The head stays; for upper garments the arms go down to the wrists whatever the sleeve, for lower
    garments and dresses the legs go down to the ankles whatever the length. Shapes come from
    keypoints and convex hulls, so that the outline of the worn garment cannot be read off the mask.

    Args:
        parse: (H, W) uint8 LIP labels.
        keypoints: (25, 3) BODY_25: x, y in [0, 1], confidence; points of confidence 0 are not used.
        category: upper_body, lower_body or dresses.
        dilation: growth in units of the picture's height.

    Returns:
        (H, W) uint8, 1 = to be generated.

    Raises:
        ValueError: unknown category, or arrays of the wrong shape.
    """

    if category not in GARMENT_LABELS:
        raise ValueError(f"category {category!r} is none of {', '.join(GARMENT_LABELS)}")
    if parse.ndim != 2 or keypoints.shape != (25, 3):
        raise ValueError(
            f"agnostic_mask needs parse (H, W) and keypoints (25, 3), "
            f"not {parse.shape} and {keypoints.shape}"
        )
    height, width = parse.shape
    points = keypoints[:, :2] * np.array([width, height])
    known = keypoints[:, 2] > 0
    unit = _body_unit(points, known, height)
    mask = np.isin(parse, GARMENT_LABELS[category]).astype(np.uint8)
    grow = max(1, round(dilation * height))
    if category != "lower_body":
        _add_trunk(mask, parse, points, known, unit)
        _add_arms(mask, points, known, unit)
    if category != "upper_body":
        _add_legs(mask, parse, points, known, unit)
    mask = dilate(mask, grow)
    kept = [HAT, HAIR, SUNGLASSES, FACE]
    kept += [] if category == "upper_body" else [LEFT_SHOE, RIGHT_SHOE]
    kept += [LEFT_ARM, RIGHT_ARM] if category == "lower_body" else []
    mask[np.isin(parse, kept)] = 0
    if category != "lower_body":
        mask[_hands(parse, points, known, unit)] = 0
    return mask


def worn_garment(parse: np.ndarray, category: str) -> np.ndarray:
    """Mask (H, W) uint8 of the worn garment of a category in a LIP parse: VITON-HD's
    ``gt_cloth_warped_mask`` for upper bodies (labels 5, 6, 7).
    """
    return np.isin(parse, WORN_LABELS[category]).astype(np.uint8)


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Mask (H, W) uint8 grown by a disc of ``radius`` pixels."""
    import cv2

    if radius < 1:
        return mask
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2))


def agnostic_picture(person: np.ndarray, mask: np.ndarray, fill: int = 128) -> np.ndarray:
    """Person (H, W, 3) uint8 with the area to generate (mask 1) painted grey."""
    return np.where(mask[..., None].astype(bool), np.uint8(fill), person)


def _body_unit(points: np.ndarray, known: np.ndarray, height: int) -> float:
    """Trunk length in pixels, about half a metre; shoulder width stands in, then a fifth of the
    picture.
    """
    if known[NECK] and known[MID_HIP]:
        return float(np.linalg.norm(points[NECK] - points[MID_HIP]))
    if known[L_SHOULDER] and known[R_SHOULDER]:
        return 1.5 * float(np.linalg.norm(points[L_SHOULDER] - points[R_SHOULDER]))
    return 0.3 * height


def _fill_hull(mask: np.ndarray, points: np.ndarray) -> None:
    import cv2

    if len(points) >= 3:
        hull = cv2.convexHull(np.asarray(points, np.float32))
        cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1)


def _pixels(mask: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(mask)
    return np.stack([x, y], axis=1).astype(np.float32)


def _add_trunk(mask, parse, points, known, unit) -> None:
    """Hull of shoulders, hips and bare trunk, down past any ordinary hem, and the neck opening."""
    trunk = [points[k] for k in (L_SHOULDER, R_SHOULDER, L_HIP, R_HIP, NECK) if known[k]]
    for hip, side in ((L_HIP, L_SHOULDER), (R_HIP, R_SHOULDER)):
        if known[hip] and known[side]:
            down = points[MID_HIP] - points[NECK] if known[MID_HIP] and known[NECK] else None
            down = np.array([0.0, unit]) if down is None else down
            outwards = 0.25 * (points[hip] - (points[L_HIP] + points[R_HIP]) / 2)
            trunk += [points[hip] + outwards + 0.22 * down, points[hip] + outwards]
    skin = _pixels(parse == JUMPSUIT)
    _fill_hull(mask, np.array(trunk + list(_outline(skin)), np.float32).reshape(-1, 2))


def _outline(points: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.convexHull(points)[:, 0] if len(points) >= 3 else points


def _add_legs(mask, parse, points, known, unit) -> None:
    """Hull of the garment, both legs and their joints, from the waist down to the ankles."""
    lower = _pixels(np.isin(parse, (PANTS, SKIRT, DRESS, LEFT_LEG, RIGHT_LEG)))
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


def _add_arms(mask, points, known, unit) -> None:
    """Capsules from shoulder to wrist, wide enough for a loose sleeve."""
    import cv2

    for chain in ((L_SHOULDER, L_ELBOW, L_WRIST), (R_SHOULDER, R_ELBOW, R_WRIST)):
        for start, end, share in ((chain[0], chain[1], 0.26), (chain[1], chain[2], 0.20)):
            if known[start] and known[end]:
                a, b = (tuple(round(float(c)) for c in points[k]) for k in (start, end))
                cv2.line(mask, a, b, 1, max(1, round(share * unit)), cv2.LINE_8)


def _hands(parse, points, known, unit) -> np.ndarray:
    """(H, W) bool: arm pixels beyond the wrists."""
    height, width = parse.shape
    y, x = np.mgrid[:height, :width]
    hands = np.zeros(parse.shape, bool)
    for label, elbow, wrist in ((LEFT_ARM, L_ELBOW, L_WRIST), (RIGHT_ARM, R_ELBOW, R_WRIST)):
        if known[elbow] and known[wrist]:
            along = points[wrist] - points[elbow]
            length = np.linalg.norm(along) + 1e-6
            fore = max(length, 0.3 * unit)  # foreshortened arms point anywhere: keep a minimum
            dx, dy = x + 0.5 - points[wrist, 0], y + 0.5 - points[wrist, 1]
            beyond = (dx * along[0] + dy * along[1]) / length > 0.06 * fore
            near = np.hypot(dx, dy) < 0.5 * unit
            hands |= (parse == label) & beyond & near
    return hands
