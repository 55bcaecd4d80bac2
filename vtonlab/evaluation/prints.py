"""Is the print there, and does it run the right way? Gradients of the worn garment."""

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])
LEAST = 2.0  # grey levels a pixel: a garment whose mean gradient is below shows no print


def gradients(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of the luma of (H, W, 3) uint8 along x and y, grey levels a pixel."""
    luma = picture.astype(float) @ LUMA
    down, right = np.gradient(luma)
    return right, down


def print_scores(image: np.ndarray, target: np.ndarray, cloth: np.ndarray) -> dict:
    """``print_contrast`` and ``print_orientation`` over the inner pixels of ``cloth`` (H, W).

    Contrast: the mean gradient of the drawing over that of the truth (1 is right, 0 is one flat
    colour, noise may go beyond 1). Orientation: mean of ``cos 2(angle between the gradients)``
    weighted by the true gradient: 1 where stripes run as they should, 0 for noise and for nothing,
    -1 across. Pixels beside the outline of the cloth are left out. None without a print.
    """
    inner = _eroded(cloth.astype(bool))
    if not inner.any():
        return dict(print_contrast=None, print_orientation=None)
    (x, y), (true_x, true_y) = gradients(image), gradients(target)
    drawn, true = np.hypot(x, y)[inner], np.hypot(true_x, true_y)[inner]
    if true.mean() < LEAST:
        return dict(print_contrast=None, print_orientation=None)
    dot = (x * true_x + y * true_y)[inner]
    product = drawn * true
    cosine = np.divide(dot, product, out=np.zeros_like(dot), where=product > 0)
    double = np.where(product > 0, 2 * cosine**2 - 1, 0.0)  # cos 2a
    return dict(
        print_contrast=float(drawn.mean() / true.mean()),
        print_orientation=float((double * true).sum() / true.sum()),
    )


def _eroded(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask whose eight neighbours are of it too."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    return rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
