"""What should not have changed: the picture outside the mask, and the old garment under it."""

import numpy as np

from vtonlab.evaluation.base import PairMetric
from vtonlab.evaluation.image_errors import psnr_outside, ssim_map
from vtonlab.ops.agnostic import leak_share
from vtonlab.registry import METRICS


@METRICS.register_module()
class Preservation(PairMetric):
    """The picture against the photograph outside the mask: ``psnr_outside`` (dB, at most 100),
    ``ssim_outside`` (mean of the SSIM map there) and ``l1_outside`` (0 to 1).

    Needs no true result, so it serves the unpaired setting too.
    """

    names = ("psnr_outside", "ssim_outside", "l1_outside")
    directions = {"psnr_outside": "up", "ssim_outside": "up", "l1_outside": "down"}
    needs = ("image", "person", "mask")

    def describe(self) -> str:
        return "outside the mask: PSNR, SSIM scikit-image gaussian RGB, L1"

    def score(self, sample: dict) -> dict[str, float | None]:
        image, person, outside = sample["image"], sample["person"], sample["mask"] == 0
        if not outside.any():
            return dict.fromkeys(self.names)
        difference = image[outside].astype(np.float64) - person[outside]
        return {
            "psnr_outside": psnr_outside(image, person, sample["mask"]),
            "ssim_outside": float(ssim_map(image, person)[outside].mean()),
            "l1_outside": float(np.abs(difference).mean() / 255),
        }


@METRICS.register_module()
class MaskLeak(PairMetric):
    """Share of the worn garment that the mask leaves visible, percent, of the data itself.

    A model that is shown the answer scores well without doing the work: read the other numbers
    beside this one.
    """

    names = ("mask_leak",)
    directions = {"mask_leak": "down"}
    needs = ("mask", "worn_mask")

    def describe(self) -> str:
        return "mask leak: worn garment outside the mask, percent"

    def score(self, sample: dict) -> dict[str, float | None]:
        if not sample["worn_mask"].any():
            return {"mask_leak": None}
        return {"mask_leak": 100 * leak_share(sample["mask"], sample["worn_mask"])}
