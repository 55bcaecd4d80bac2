"""Body keypoints as a drawn skeleton, the way OpenPose renders them."""

import numpy as np

# BODY_25 bones as pairs of joints.
BODY_25_BONES = (
    (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (10, 11),
    (8, 12), (12, 13), (13, 14), (0, 15), (0, 16), (15, 17), (16, 18), (14, 19), (19, 20),
    (14, 21), (11, 22), (22, 23), (11, 24),
)  # fmt: skip
# OpenPose's 18 COCO joints, as Dress Code stores them, in BODY_25 numbers.
COCO_18 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)


def coco_to_body_25(keypoints: np.ndarray) -> np.ndarray:
    """BODY_25 ``(25, 3)`` from OpenPose's 18 COCO joints ``(18, 3)``.

    The middle of the hips, which COCO lacks, lies between them, as sure as the less sure one; toes
    and heels stay unknown.
    """
    found = np.zeros((25, 3), keypoints.dtype)
    found[list(COCO_18)] = keypoints
    hips = found[[9, 12]]
    if (hips[:, 2] > 0).all():
        found[8] = [*hips[:, :2].mean(0), hips[:, 2].min()]
    return found


def draw_skeleton(
    keypoints: np.ndarray, height: int, width: int, image: np.ndarray | None = None
) -> np.ndarray:
    """BODY_25 as coloured bones on black, or over ``image``.

    Args:
        keypoints: (25, 3): x, y in [0, 1], confidence; joints at confidence 0 are left out.
        height, width: Size of the picture.
        image: uint8 RGB (height, width, 3) to draw on; it is not changed.

    Returns:
        uint8 RGB (height, width, 3).
    """
    import cv2

    page = np.zeros((height, width, 3), np.uint8) if image is None else image.copy()
    keypoints = np.asarray(keypoints)
    known = keypoints[:, 2] > 0
    places = np.rint((keypoints[:, :2] * (width, height) - 0.5) * 16).astype(int)
    colors = _hues(len(BODY_25_BONES))
    thick = max(1, round(max(height, width) / 128))
    for (a, b), color in zip(BODY_25_BONES, colors, strict=True):
        if known[a] and known[b]:
            ends = tuple(places[a].tolist()), tuple(places[b].tolist())
            cv2.line(page, *ends, color, thick, cv2.LINE_AA, 4)
    for joint in np.flatnonzero(known):
        color = colors[joint % len(colors)]
        cv2.circle(page, tuple(places[joint].tolist()), thick * 16, color, -1, cv2.LINE_AA, 4)
    return page


def _hues(count: int) -> list[tuple[int, int, int]]:
    """Evenly spread hues at 0.85 saturation and 0.95 value, as RGB."""
    turn = np.arange(count) / count * 6
    shares = [np.clip(np.abs((turn + shift) % 6 - 3) - 1, 0, 1) for shift in (0, 4, 2)]
    rgb = np.rint((0.15 + 0.85 * np.stack(shares, -1)) * 0.95 * 255).astype(int)
    return [tuple(color) for color in rgb.tolist()]
