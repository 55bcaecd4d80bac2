"""The filters of SIFT-VTON, one pure function each (METHODS.md 2.2).

All take arrays with one row per candidate match, best (smallest descriptor distance) first, and
return a boolean mask of what stays. Points are pixel indices ``(x, y)`` at the matching size.
"""

from __future__ import annotations

import numpy as np


def ratio_filter(distances: np.ndarray, ratio: float) -> np.ndarray:
    """Lowe's test: the best descriptor distance is below ``ratio`` times the second best.

    Args:
        distances: ``(N, 2)``, the two nearest garment descriptors of each person keypoint.
    """
    return distances[:, 0] < ratio * distances[:, 1]


def angle_filter(person: np.ndarray, garment: np.ndarray, max_degrees: float) -> np.ndarray:
    """Keypoint orientations, in degrees, differ by less than ``max_degrees`` around the circle."""
    difference = np.abs(person - garment) % 360.0
    return np.minimum(difference, 360.0 - difference) < max_degrees


def scale_filter(person: np.ndarray, garment: np.ndarray, max_ratio: float) -> np.ndarray:
    """Keypoint sizes are within ``max_ratio`` of each other, either way, bounds included."""
    return (person <= max_ratio * garment) & (garment <= max_ratio * person)


def colour_filter(
    person: np.ndarray,
    garment: np.ndarray,
    max_value_difference: float = 0.4,
    grey_saturation: float = 0.1,
    dark_value: float = 0.2,
    max_hue_difference: float = 15.0,
) -> np.ndarray:
    """HSV colours at the keypoints agree.

    Brightness must be close; then two greys or two dark pixels pass, all others need a close hue.

    Args:
        person, garment: ``(M, 3)`` OpenCV HSV: hue 0 to 180, saturation and value 0 to 255.
        max_value_difference, grey_saturation, dark_value: shares of 255.
        max_hue_difference: in OpenCV's half degrees, exclusive.
    """
    person, garment = person.astype(np.float64), garment.astype(np.float64)
    close = np.abs(person[:, 2] - garment[:, 2]) <= max_value_difference * 255
    grey = np.maximum(person[:, 1], garment[:, 1]) < grey_saturation * 255
    dark = np.maximum(person[:, 2], garment[:, 2]) < dark_value * 255
    hue = np.abs(person[:, 0] - garment[:, 0]) % 180.0
    same_hue = np.minimum(hue, 180.0 - hue) < max_hue_difference
    return close & (grey | dark | same_hue)


def duplicate_filter(person: np.ndarray, garment: np.ndarray, radius: float) -> np.ndarray:
    """Best first, drop a match that repeats a kept one.

    It repeats if either endpoint coincides exactly, or if both endpoints lie within ``radius``.
    """
    keep = np.zeros(len(person), dtype=bool)
    seen_person, seen_garment = set(), set()
    cells: dict[tuple[int, int], list[int]] = {}
    cell = max(radius, 1e-6)
    limit = radius * radius * (1 + 1e-9)
    person_xy, garment_xy = person.tolist(), garment.tolist()
    for i, (p, g) in enumerate(zip(map(tuple, person_xy), map(tuple, garment_xy), strict=True)):
        if p in seen_person or g in seen_garment:
            continue
        column, row = int(p[0] // cell), int(p[1] // cell)
        near = [
            j
            for y in (row - 1, row, row + 1)
            for x in (column - 1, column, column + 1)
            for j in cells.get((x, y), ())
        ]
        if any(
            _squared(p, person_xy[j]) <= limit and _squared(g, garment_xy[j]) <= limit for j in near
        ):
            continue
        keep[i] = True
        seen_person.add(p)
        seen_garment.add(g)
        cells.setdefault((column, row), []).append(i)
    return keep


def _squared(a, b) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def homography_filter(
    person: np.ndarray,
    garment: np.ndarray,
    threshold: float,
    confidence: float = 0.99,
    max_iterations: int = 1000,
    seed: int = 1235,
) -> np.ndarray:
    """Inliers of the best 4-point homography, person to garment, found by OpenCV's RANSAC.

    Args:
        threshold: largest reprojection error in the garment picture, in pixels.
    """
    import cv2

    if len(person) < 4:
        return np.zeros(len(person), dtype=bool)
    params = cv2.UsacParams()
    params.threshold = threshold
    params.confidence = confidence
    params.maxIterations = max_iterations
    params.randomGeneratorState = seed
    params.sampler = cv2.SAMPLING_UNIFORM
    params.score = cv2.SCORE_METHOD_RANSAC
    params.loMethod = cv2.LOCAL_OPTIM_NULL
    params.final_polisher = cv2.NONE_POLISHER
    _, inliers = cv2.findHomography(person.astype(np.float64), garment.astype(np.float64), params)
    if inliers is None:
        return np.zeros(len(person), dtype=bool)
    return inliers.reshape(-1).astype(bool)


def line_angle_filter(
    person: np.ndarray, garment: np.ndarray, offset: float, max_degrees: float
) -> np.ndarray:
    """The lines between the pictures drawn side by side are nearly parallel.

    Each line's angle must lie within ``max_degrees`` of the mean of all other lines' angles. One
    match alone has nothing to disagree with and stays.

    Args:
        offset: how far to the right the garment picture is drawn, in pixels (its width).
    """
    if len(person) < 2:
        return np.ones(len(person), dtype=bool)
    dx = garment[:, 0] + offset - person[:, 0]
    angles = np.degrees(np.arctan2(garment[:, 1] - person[:, 1], dx))
    others = (angles.sum() - angles) / (len(angles) - 1)
    return np.abs(angles - others) <= max_degrees


def neighbour_filter(first: np.ndarray, second: np.ndarray, max_ratio: float) -> np.ndarray:
    """The nearest neighbour in the second picture is not much further away in the first.

    For each match, the match nearest to it in the second picture is found; the distance of the two
    in the first picture must be at most ``max_ratio`` times that in the second. A wrong match that
    lands among right ones in one picture lies far from them in the other.
    """
    if len(first) < 2:
        return np.ones(len(first), dtype=bool)
    distance = np.linalg.norm(second[:, None] - second[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argmin(1)
    apart = np.linalg.norm(first - first[nearest], axis=-1)
    return apart <= max_ratio * distance[np.arange(len(first)), nearest]
