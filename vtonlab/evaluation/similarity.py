"""SSIM, MS-SSIM and PSNR against the true picture, by the libraries, with the variant in the name
of the settings: torchmetrics and scikit-image agree where their settings do.
"""

import numpy as np

from vtonlab.evaluation.base import NotGivenError, PairMetric, psnr, unit
from vtonlab.registry import METRICS

LIBRARIES = ("torchmetrics", "scikit-image")
WINDOWS = ("gaussian", "uniform")


@METRICS.register_module()
class SSIM(PairMetric):
    """Structural similarity of the whole picture, mean over pictures.

    Args:
        library: ``"torchmetrics"`` (Gaussian window of sigma 1.5, colour, what most tables of this
            field use) or ``"scikit-image"``.
        window: ``"gaussian"`` (sigma 1.5) or ``"uniform"`` (7x7); torchmetrics has the first alone.
        grey: compare luminance, as HR-VITON and TPD do; scikit-image alone.

    Raises:
        ValueError: settings that the library does not have.
    """

    names = ("ssim",)
    directions = {"ssim": "up"}

    def __init__(
        self,
        *,
        library: str = "torchmetrics",
        window: str = "gaussian",
        grey: bool = False,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(collect_device=collect_device)
        if library not in LIBRARIES or window not in WINDOWS:
            raise ValueError(
                f"SSIM: library {library!r} and window {window!r} must be of "
                f"{', '.join(LIBRARIES)} and {', '.join(WINDOWS)}"
            )
        if library == "torchmetrics" and (window, grey) != ("gaussian", False):
            raise ValueError(
                "SSIM: torchmetrics has the Gaussian window on colour alone; set "
                "library='scikit-image'"
            )
        self.library, self.window, self.grey = library, window, grey

    def describe(self) -> str:
        return f"SSIM {self.library} {self.window} {'grey' if self.grey else 'RGB'}"

    def score(self, sample: dict) -> dict[str, float]:
        image, target = sample["image"], sample["target"]
        if self.library == "torchmetrics":
            from torchmetrics.functional.image import structural_similarity_index_measure

            # In float32 equal pictures get 0.9999.
            pair = unit(image).double(), unit(target).double()
            value = structural_similarity_index_measure(*pair, data_range=1.0)
            return {"ssim": value.item()}
        return {"ssim": skimage_ssim(image, target, self.window, self.grey)}


def skimage_ssim(
    image: np.ndarray, target: np.ndarray, window: str = "gaussian", grey: bool = False
) -> float:
    """scikit-image's SSIM of two uint8 pictures (H, W, 3)."""
    from skimage.color import rgb2gray
    from skimage.metrics import structural_similarity

    if grey:
        image, target = (rgb2gray(picture) * 255.0 for picture in (image, target))
    settings = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return float(
        structural_similarity(
            image,
            target,
            channel_axis=None if grey else -1,
            data_range=255,
            **(settings if window == "gaussian" else {}),
        )
    )


@METRICS.register_module()
class MSSSIM(PairMetric):
    """Multi-scale SSIM (torchmetrics, five scales, Gaussian window); pictures need 161 pixels in
    both directions.
    """

    names = ("ms_ssim",)
    directions = {"ms_ssim": "up"}

    def describe(self) -> str:
        return "MS-SSIM torchmetrics"

    def score(self, sample: dict) -> dict[str, float]:
        from torchmetrics.functional.image import (
            multiscale_structural_similarity_index_measure as multiscale,
        )

        height, width = sample["image"].shape[:2]
        if min(height, width) <= 160:
            raise NotGivenError(
                f"MS-SSIM needs pictures of more than 160 pixels, these have {height}x{width}"
            )
        pair = unit(sample["image"]).double(), unit(sample["target"]).double()
        value = multiscale(*pair, data_range=1.0)
        return {"ms_ssim": value.item()}


@METRICS.register_module()
class PSNR(PairMetric):
    """Peak signal-to-noise ratio of each picture in dB, at most 100; mean over pictures."""

    names = ("psnr",)
    directions = {"psnr": "up"}

    def describe(self) -> str:
        return "PSNR per picture"

    def score(self, sample: dict) -> dict[str, float]:
        difference = sample["image"].astype(np.float64) - sample["target"]
        return {"psnr": psnr(np.square(difference).mean())}
