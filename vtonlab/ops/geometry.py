"""Grids, bilinear sampling, warps and composition of flows, in NumPy.

Points are ``(x, y)`` in [0, 1] over the picture, pixel centres at ``(i + 0.5) / n``. A flow is
absolute: for each pixel of one picture, a place in another.
"""

import numpy as np


def pixel_centres(height: int, width: int) -> np.ndarray:
    """(h, w, 2) float32 ``(x, y)`` of all pixel centres in [0, 1]: the identity flow."""
    x = (np.arange(width, dtype=np.float32) + 0.5) / width
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    return np.stack(np.meshgrid(x, y), axis=-1)


def sample_bilinear(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of ``picture`` (h, w) or (h, w, C) at ``points`` (..., 2); the border is repeated
    outside.

    Returns:
        (...) or (..., C), of the picture's type (uint8 or float32).
    """
    import cv2

    h, w = picture.shape[:2]
    flat = points.reshape(-1, 2).astype(np.float32)
    columns = 1024  # OpenCV's maps must stay under 32 768 in each direction
    rows = -(-len(flat) // columns)
    maps = np.zeros((rows * columns, 2), np.float32)
    maps[: len(flat)] = flat * np.array([w, h], np.float32) - 0.5
    maps = maps.reshape(rows, columns, 2)
    if rows == 0:
        return np.zeros((*points.shape[:-1], *picture.shape[2:]), picture.dtype)
    values = cv2.remap(picture, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values = values.reshape(rows * columns, *picture.shape[2:])[: len(flat)]
    return values.reshape(*points.shape[:-1], *picture.shape[2:])


def warp(picture: np.ndarray, flow: np.ndarray, visible: np.ndarray, fill: int = 255) -> np.ndarray:
    """``picture`` drawn where ``flow`` (h, w, 2) says, ``fill`` where ``visible`` (h, w) is
    False.
    """
    warped = sample_bilinear(picture, flow)
    warped[~visible] = fill
    return warped


def compose_flows(
    first: np.ndarray, first_visible: np.ndarray, second: np.ndarray, second_visible: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Follow ``first`` (A to B), then ``second`` (B to C).

    A pixel is visible in the result where all four pixels of B around its place are.

    Returns:
        flow (h, w, 2) float32 and visible (h, w) bool over A.
    """
    flow = sample_bilinear(second.astype(np.float32), first)
    solid = sample_bilinear(second_visible.astype(np.float32), first) > 1 - 1e-3
    visible = first_visible & solid
    return np.where(visible[..., None], flow, 0), visible


def downsample(picture: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of ``factor`` x ``factor`` pixels."""
    import cv2

    if factor == 1:
        return picture
    h, w = picture.shape[:2]
    return cv2.resize(picture, (w // factor, h // factor), interpolation=cv2.INTER_AREA)
