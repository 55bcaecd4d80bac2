"""Errors of generated pictures, inside and outside the mask, before repaint."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from vtonlab.registry import METRICS


def l1_inside(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute error over the mask's pixels and channels, [0, 1] scale; uint8 (H, W, 3), mask
    (H, W).
    """
    inside = mask.astype(bool)
    return float(np.abs(image[inside].astype(float) - target[inside].astype(float)).mean() / 255)


def ssim_inside(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean over the mask of the SSIM map (Gaussian window, sigma 1.5, per channel)."""
    from skimage.metrics import structural_similarity

    _, ssim_map = structural_similarity(
        image,
        target,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(ssim_map[mask.astype(bool)].mean())


def psnr_outside(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio (dB) over the pixels outside the mask: what the model did to the
    rest; at most 100.
    """
    outside = ~mask.astype(bool)
    error = np.square(image[outside].astype(float) - target[outside].astype(float)).mean()
    return float(min(100.0, 10 * np.log10(255.0**2 / max(error, 1e-12))))


def mean_colour_fill(target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``target`` with the mask filled by the mean colour of what it hides: the best a constant can
    do.
    """
    filled, inside = target.copy(), mask.astype(bool)
    filled[inside] = np.rint(target[inside].mean(0)).astype(np.uint8)
    return filled


@METRICS.register_module()
class ImageErrors(BaseMetric):
    """``l1_inside``, ``ssim_inside``, ``psnr_outside``, and ``l1_inside_fill`` of the mean-colour
    fill, all before repaint.

    Each is computed per picture and averaged over pictures. ``l1_inside_fill`` is what painting the
    true mean colour into the mask would score: a model that is not far below it has learned
    nothing.
    """

    default_prefix = None

    def __init__(self, *, collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Needs ``image``, ``target`` (uint8 (H, W, 3)) and ``mask`` (H, W) in each result."""
        for sample in data_samples:
            image, target, mask = sample["image"], sample["target"], sample["mask"]
            self.results.append(
                dict(
                    id=sample["id"],
                    garment_id=sample["garment_id"],
                    l1_inside=l1_inside(image, target, mask),
                    ssim_inside=ssim_inside(image, target, mask),
                    psnr_outside=psnr_outside(image, target, mask),
                    l1_inside_fill=l1_inside(mean_colour_fill(target, mask), target, mask),
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Means over pictures, and how many there were."""
        names = ("l1_inside", "ssim_inside", "psnr_outside", "l1_inside_fill")
        means = {name: float(np.mean([result[name] for result in results])) for name in names}
        return means | {"pictures": len(results)}
