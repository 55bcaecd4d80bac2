"""The garment-agnostic picture: what must be hidden so that nothing tells which garment was worn.

One function for photographs (parse and keypoints from any tool) and for rendered people. Labels are
LIP's.
"""

import numpy as np

from vtonlab.ops import agnostic_shapes as shapes
from vtonlab.ops.agnostic_estimates import estimated_mask
from vtonlab.ops.agnostic_shapes import (
    NECK,
    NOSE,
    add_arms,
    add_legs,
    add_trunk,
    body_unit,
    hands,
)

HAT, HAIR, UPPER, DRESS, COAT, SOCKS, PANTS, JUMPSUIT, SCARF, SKIRT, FACE = (
    1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13,
)  # fmt: skip
# LIP's jumpsuit is the neck in VITON-HD's files.
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
CONVENTIONS = ("full", "vitonhd", "dresscode", "tight", "wide")
_HEAD = (HAT, HAIR, SUNGLASSES, FACE)
_DRESS_SHARE = 0.02  # of the picture, above which somebody wears a dress
# DensePose parts
_TRUNK_PARTS, _HAND_PARTS = (1, 2), (3, 4)
_ARM_PARTS, _LEG_PARTS = tuple(range(15, 23)), tuple(range(7, 15))


def agnostic_mask(
    parse: np.ndarray,
    keypoints: np.ndarray,
    category: str,
    dilation: float | None = None,
    *,
    convention: str = "full",
    box: bool = False,
    densepose: np.ndarray | None = None,
) -> np.ndarray:
    """Area to generate: the worn garment, and the area that another garment of the category takes.

    ==============  ==============================================================================
    ``full``        all the area that any garment of the category might take: for upper garments
                    down to hips and wrists, for others down to the ankles whatever the length; the
                    outline of the worn garment cannot be read off the mask
    ``vitonhd``     as VITON-HD ships: trunk and arms drawn from keypoints, trousers kept (its hem
                    shows the worn garment's); upper bodies alone
    ``dresscode``   as try-on on Dress Code is evaluated: the labels of garment and legs, grown,
                    and the arms from keypoints
    ``tight``       as CORAL's tests of people in their own garment: where two estimates, from
                    labels and DensePose and from keypoints, agree
    ``wide``        as CORAL's tests with another garment: the first estimate, with wider arms
    ==============  ==============================================================================

    The head stays in all of them (a ``wide`` mask of a dress may take the chin). **Cross-category
    rule:** who wears a dress has all of it hidden, as for ``dresses``, whatever the category of the
    new garment (``vitonhd``, ``tight`` and ``wide`` keep to their own rules).

    Args:
        parse: (H, W) uint8 LIP labels.
        keypoints: (25, 3) BODY_25: x, y in [0, 1], confidence; points of confidence 0 are not used.
        category: of the new garment: upper_body, lower_body or dresses.
        dilation: growth in units of the picture's height; by default 0.035 for ``full``, 0 for
            ``vitonhd``, 0.02 for ``dresscode`` and 0 on top of the rules of ``tight`` and ``wide``.
        convention: see above.
        box: fill the bounding box of the area, but for the head: no outline is left at all.
        densepose: (H, W) DensePose parts 0 to 24, where there are: the body's own arms, trunk and
            legs are added, and hands are its hands.

    Returns:
        (H, W) uint8, 1 = to be generated.

    Raises:
        ValueError: unknown category or convention, or arrays of the wrong shape.
    """
    if category not in GARMENT_LABELS:
        raise ValueError(f"category {category!r} is none of {', '.join(GARMENT_LABELS)}")
    if parse.ndim != 2 or keypoints.shape != (25, 3):
        raise ValueError(
            f"agnostic_mask needs parse (H, W) and keypoints (25, 3), "
            f"not {parse.shape} and {keypoints.shape}"
        )
    if convention not in CONVENTIONS:
        raise ValueError(f"convention {convention!r} is none of {', '.join(CONVENTIONS)}")
    if densepose is not None and densepose.shape != parse.shape:
        raise ValueError(f"densepose is {densepose.shape}, parse {parse.shape}: use one size")
    if convention in ("full", "dresscode") and (parse == DRESS).mean() > _DRESS_SHARE:
        category = "dresses"
    build = dict(full=_full, vitonhd=_vitonhd, dresscode=_dresscode, tight=_tight, wide=_wide)
    points = keypoints[:, :2] * np.array(parse.shape[::-1])
    mask = build[convention](parse, points, keypoints[:, 2] > 0, category, dilation, densepose)
    return _box(mask, parse) if box else mask


def _full(parse, points, known, category, dilation, densepose) -> np.ndarray:
    unit = body_unit(points, known, parse.shape[0])
    mask = np.isin(parse, GARMENT_LABELS[category]).astype(np.uint8)
    grow = max(1, round((0.035 if dilation is None else dilation) * parse.shape[0]))
    if category != "lower_body":
        add_trunk(mask, parse == JUMPSUIT, points, known, unit)
        add_arms(mask, points, known, unit)
    if category != "upper_body":
        legs = np.isin(parse, (PANTS, SKIRT, DRESS, LEFT_LEG, RIGHT_LEG))
        add_legs(mask, legs, points, known, unit)
    _add_parts(mask, densepose, category)
    mask = dilate(mask, grow)
    kept = [*_HEAD]
    kept += [] if category == "upper_body" else [LEFT_SHOE, RIGHT_SHOE]
    kept += [LEFT_ARM, RIGHT_ARM] if category == "lower_body" else []
    mask[np.isin(parse, kept)] = 0
    if category != "lower_body":
        arms = (parse == LEFT_ARM, parse == RIGHT_ARM)
        mask[_hands(arms, densepose, lambda: hands(arms, points, known, unit))] = 0
    return mask


def _vitonhd(parse, points, known, category, dilation, densepose) -> np.ndarray:
    if category != "upper_body":
        raise ValueError(
            f"convention 'vitonhd' is for upper bodies, not for {category}: use 'full' or "
            "'dresscode'"
        )
    mask = np.zeros(parse.shape, np.uint8)
    drawn = shapes.upper_body(mask, points, known)
    _add_parts(mask, densepose, category)
    mask[np.isin(parse, GARMENT_LABELS[category])] = 1
    mask = dilate(mask, round((dilation or 0.0) * parse.shape[0]))
    lower = (PANTS, SKIRT, LEFT_LEG, RIGHT_LEG, LEFT_SHOE, RIGHT_SHOE)
    mask[np.isin(parse, (SUNGLASSES, FACE, *lower))] = 0
    arms = ((parse == LEFT_ARM), (parse == RIGHT_ARM))
    mask[_hands(arms, densepose, lambda: _beyond(arms, drawn))] = 0
    return mask


def _dresscode(parse, points, known, category, dilation, densepose) -> np.ndarray:
    height = parse.shape[0]
    labels = [*GARMENT_LABELS[category]]
    labels += [] if category == "upper_body" else [LEFT_LEG, RIGHT_LEG]
    mask = np.isin(parse, labels).astype(np.uint8)
    fixed = [HAT, HAIR, SUNGLASSES, LEFT_SHOE, RIGHT_SHOE]
    fixed += {
        "upper_body": [PANTS, SKIRT, LEFT_LEG, RIGHT_LEG],
        "lower_body": [UPPER, COAT, SCARF, FACE, LEFT_ARM, RIGHT_ARM],
        "dresses": [],
    }[category]
    kept = np.isin(parse, fixed)
    if category != "lower_body":
        drawn = shapes.sleeves(mask, points, known, 45 / 512 * height)
        _add_parts(mask, densepose, category)
        parse = split_neck(parse, points, known)
        mask[parse == JUMPSUIT] = 1
        arms = ((parse == LEFT_ARM), (parse == RIGHT_ARM))
        kept |= (parse == FACE) | _hands(arms, densepose, lambda: _beyond(arms, drawn))
    mask = dilate(mask, round((0.02 if dilation is None else dilation) * height))
    mask[kept] = 0
    return mask


def _tight(parse, points, known, category, dilation, densepose, tight=True) -> np.ndarray:
    mask = estimated_mask(parse, points, known, category, densepose, tight=tight)
    return dilate(mask, round((dilation or 0.0) * parse.shape[0]))


def _wide(parse, points, known, category, dilation, densepose) -> np.ndarray:
    return _tight(parse, points, known, category, dilation, densepose, tight=False)


def _beyond(arms, drawn: np.ndarray) -> np.ndarray:
    return (arms[0] & (drawn[0] == 0)) | (arms[1] & (drawn[1] == 0))


def _hands(arms, densepose: np.ndarray | None, from_points) -> np.ndarray:
    """(H, W) bool: DensePose's hands where they are known, else what ``from_points`` says."""
    if densepose is None or not np.isin(densepose, _HAND_PARTS).any():
        return from_points()
    return (arms[0] | arms[1]) & np.isin(densepose, _HAND_PARTS)


def _add_parts(mask: np.ndarray, densepose: np.ndarray | None, category: str) -> None:
    if densepose is not None:
        parts = () if category == "lower_body" else (*_TRUNK_PARTS, *_ARM_PARTS)
        parts += () if category == "upper_body" else _LEG_PARTS
        mask[np.isin(densepose, parts)] = 1


def _box(mask: np.ndarray, parse: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    filled = np.zeros_like(mask)
    if len(rows):
        filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
        filled[np.isin(parse, _HEAD) & (mask == 0)] = 0
    return filled


def split_neck(parse: np.ndarray, points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The parse with the neck apart from the face, for labels (ATR) that have one for both: collars
    show on the neck.

    Args:
        parse: (H, W) LIP labels.
        points, known: BODY_25 in pixels (25, 2), and which of them are known (25,).
    """
    if not known[NECK]:
        return parse
    reach = 3 * shapes.shoulder_unit(points, known, parse.shape[0])
    if known[NOSE]:
        reach = min(reach, 0.5 * max(points[NECK, 1] - points[NOSE, 1], 0))
    top = max(0, round(float(points[NECK, 1] - reach)))
    split = parse.copy()
    split[top:][parse[top:] == FACE] = JUMPSUIT
    return split


def leak_score(mask: np.ndarray, parse: np.ndarray, category: str) -> float:
    """Share of the worn garment (LIP labels of ``parse``) that the mask leaves in sight, in [0, 1].

    0 where no such garment is worn.
    """
    return leak_share(mask, worn_garment(parse, category))


def leak_share(mask: np.ndarray, worn: np.ndarray) -> float:
    """As `leak_score`, from the worn garment's mask (H, W)."""
    return float((worn.astype(bool) & (mask == 0)).sum() / max(int(worn.sum()), 1))


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
