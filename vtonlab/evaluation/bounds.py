"""What no model at all would score: one colour, one for the garment, and copying by the truth."""

import numpy as np

from vtonlab.structures import FlowField

PATCH = 4  # pixels; side of what is copied at once


def mean_colour_fill(target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``target`` with the mask filled by the mean colour of what it hides: the best a constant can
    do.
    """
    filled, inside = target.copy(), mask.astype(bool)
    if not inside.any():
        return filled
    filled[inside] = np.rint(target[inside].mean(0)).astype(np.uint8)
    return filled


def plain_picture(target: np.ndarray, mask: np.ndarray, flow: FlowField) -> np.ndarray:
    """``target`` with its visible garment inside the mask in one colour, the mean of what it hides.

    Everything else stays true: what a model would score that knows all but the print.
    """
    return mean_colour_fill(target, flow.visible.numpy() & mask.astype(bool))


def copied_picture(
    garment: np.ndarray, target: np.ndarray, mask: np.ndarray, flow: FlowField, patch: int = PATCH
) -> np.ndarray:
    """``target`` with its visible garment inside the mask copied from ``garment``.

    The person's picture is cut into squares of ``patch`` pixels. Where the garment shows at the
    middle of one, the square of the garment picture around the true point (moved by whole pixels,
    so nothing blurs) takes its place, in the pixels that show the garment. Everything else stays
    true, so the error of this picture is what perfect attention leaves: light, folds and turns.

    Args:
        garment, target: (H, W, 3) uint8.
        mask: (H, W), 1 = to be generated.
        flow: from ``target`` to ``garment``, of the same size.
        patch: side of the squares.
    """
    height, width = target.shape[:2]
    rows, columns = height // patch, width // patch
    # the centres of whole squares, in [0, 1] over the picture
    y, x = np.mgrid[:rows, :columns]
    centres = np.stack([(x + 0.5) * patch / width, (y + 0.5) * patch / height], -1)
    points, seen = flow.sample(centres.reshape(-1, 2))
    points, seen = points.numpy().astype(float), seen.numpy().reshape(rows, columns)
    tall, wide = garment.shape[:2]
    corner = np.rint(points * (wide, tall) - patch / 2).astype(int).reshape(rows, columns, 2)
    down = corner[..., 1].clip(0, tall - patch)[..., None, None] + np.arange(patch)[:, None]
    right = corner[..., 0].clip(0, wide - patch)[..., None, None] + np.arange(patch)
    squares = garment[down, right]  # (rows, columns, patch, patch, 3)
    area = slice(rows * patch), slice(columns * patch)
    copied = target.copy()
    copied[area] = squares.transpose(0, 2, 1, 3, 4).reshape(rows * patch, columns * patch, 3)
    taken = np.zeros((height, width), bool)
    taken[area] = seen.repeat(patch, 0).repeat(patch, 1)
    taken &= flow.visible.numpy() & mask.astype(bool)
    return np.where(taken[..., None], copied, target)


def share_of_the_way(error: float, fill: float, copy: float) -> float | None:
    """``(fill - error) / (fill - copy)``: 0 is one colour, 1 is copying by the truth; below 0 where
    worse than one colour. None where both bounds agree.
    """
    return (fill - error) / (fill - copy) if fill > copy else None
