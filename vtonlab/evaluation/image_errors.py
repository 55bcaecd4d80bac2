"""Errors of generated pictures, inside and outside the mask, before repaint."""

import numpy as np

from vtonlab.evaluation.base import PairMetric, psnr
from vtonlab.registry import METRICS


def l1_inside(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute error over the mask's pixels and channels, [0, 1] scale; uint8 (H, W, 3), mask
    (H, W).
    """
    inside = mask.astype(bool)
    return float(np.abs(image[inside].astype(float) - target[inside].astype(float)).mean() / 255)


def ssim_map(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """scikit-image's SSIM at every pixel and channel (Gaussian window, sigma 1.5), (H, W, 3)."""
    from skimage.metrics import structural_similarity

    return structural_similarity(
        image,
        target,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1]


def ssim_inside(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean over the mask of the SSIM map (Gaussian window, sigma 1.5, per channel)."""
    return float(ssim_map(image, target)[mask.astype(bool)].mean())


def psnr_outside(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio (dB) over the pixels outside the mask: what the model did to the
    rest; at most 100.
    """
    outside = ~mask.astype(bool)
    return psnr(np.square(image[outside].astype(float) - target[outside].astype(float)).mean())


def mean_colour_fill(target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``target`` with the mask filled by the mean colour of what it hides: the best a constant can
    do.
    """
    filled, inside = target.copy(), mask.astype(bool)
    filled[inside] = np.rint(target[inside].mean(0)).astype(np.uint8)
    return filled


@METRICS.register_module()
class ImageErrors(PairMetric):
    """``l1_inside``, ``ssim_inside``, ``psnr_outside``, and ``l1_inside_fill`` of the mean-colour
    fill, all before repaint.

    Each is computed per picture and averaged over pictures. ``l1_inside_fill`` is what painting the
    true mean colour into the mask would score: a model that is not far below it has learned
    nothing.
    """

    names = ("l1_inside", "ssim_inside", "psnr_outside", "l1_inside_fill")
    directions = {"l1_inside": "down", "ssim_inside": "up", "psnr_outside": "up"}
    needs = ("image", "target", "mask")

    def describe(self) -> str:
        return "inside and outside the mask: L1, SSIM scikit-image gaussian RGB, PSNR"

    def score(self, sample: dict) -> dict[str, float | None]:
        image, target, mask = sample["image"], sample["target"], sample["mask"]
        if not mask.any():
            return dict.fromkeys(self.names)
        outside = psnr_outside(image, target, mask) if not mask.all() else None
        return dict(
            l1_inside=l1_inside(image, target, mask),
            ssim_inside=ssim_inside(image, target, mask),
            psnr_outside=outside,
            l1_inside_fill=l1_inside(mean_colour_fill(target, mask), target, mask),
        )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Means over pictures, and how many there were."""
        return super().compute_metrics(results) | {"pictures": len(results)}
