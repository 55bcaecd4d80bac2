"""Errors of generated pictures, inside and outside the mask, before repaint."""

import numpy as np

from vtonlab.evaluation.base import PairMetric, mean, psnr
from vtonlab.evaluation.bounds import (
    copied_picture,
    mean_colour_fill,
    plain_picture,
    share_of_the_way,
)
from vtonlab.evaluation.prints import print_scores
from vtonlab.registry import METRICS
from vtonlab.structures.sample import MORE_GARMENTS, key_of

MORE_CLOTH = {key_of("l1_cloth", role): key_of("flow", role) for role in MORE_GARMENTS}


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


def more_cloth(sample: dict) -> dict[str, float | None]:
    """``l1_cloth_2`` and so on: the error on the visible cloth of each further garment."""
    found = {}
    for name, flow in MORE_CLOTH.items():
        if flow in sample:
            cloth = sample[flow].visible.numpy() & sample["mask"].astype(bool)
            known = l1_inside(sample["image"], sample["target"], cloth) if cloth.any() else None
            found[name] = known
    return found


@METRICS.register_module()
class ImageErrors(PairMetric):
    """``l1_inside``, ``ssim_inside``, ``psnr_outside``, and their bounds, all before repaint.

    Each is computed per picture and averaged over pictures. ``l1_inside_fill`` is what painting the
    true mean colour into the mask would score. Where the data know the true flow (rendered people),
    ``l1_inside_copy`` is what copying by it would (see ``copied_picture``), ``share_of_the_way`` is
    ``(fill - error) / (fill - copy)`` of their means over these, and ``print_contrast`` and
    ``print_orientation`` tell whether the print of the worn garment is there and runs the right way
    (see ``print_scores``), over the garments that have one. ``l1_inside_plain`` is what the truth
    with the visible garment in its mean colour would score, and ``share_of_the_print`` is
    ``(plain - error) / (plain - copy)`` over the visible garment inside the mask alone: 0 is one
    colour there, 1 is copying by the truth. The error there is ``l1_cloth``; that on the visible
    cloth of further garments is ``l1_cloth_2`` and so on. ``l1_rest`` is the error in the mask
    beside the visible garment (skin, background, what is worn below), where copying scores 0: no
    attention to the garment can draw it.
    """

    names = ("l1_inside", "ssim_inside", "psnr_outside", "l1_inside_fill")
    of_flow = ("l1_inside_copy", "l1_inside_plain", "print_contrast", "print_orientation")
    of_cloth = ("l1_cloth", "l1_cloth_copy", "l1_cloth_plain")
    of_truth = (*of_flow, *of_cloth, "l1_rest")
    directions = {
        "l1_inside": "down",
        "ssim_inside": "up",
        "psnr_outside": "up",
        "share_of_the_way": "up",
        "share_of_the_print": "up",
        "print_orientation": "up",
    }
    needs = ("image", "target", "mask")

    def describe(self) -> str:
        return "inside and outside the mask: L1, SSIM scikit-image gaussian RGB, PSNR"

    def score(self, sample: dict) -> dict[str, float | None]:
        image, target, mask = sample["image"], sample["target"], sample["mask"]
        known = "flow" in sample and "garment" in sample
        if not mask.any():
            return dict.fromkeys((*self.names, *(self.of_truth if known else ())))
        outside = psnr_outside(image, target, mask) if not mask.all() else None
        scores = dict(
            l1_inside=l1_inside(image, target, mask),
            ssim_inside=ssim_inside(image, target, mask),
            psnr_outside=outside,
            l1_inside_fill=l1_inside(mean_colour_fill(target, mask), target, mask),
        )
        if known:
            flow = sample["flow"]
            copied = copied_picture(sample["garment"], target, mask, flow)
            cloth = flow.visible.numpy() & mask.astype(bool)
            plain = plain_picture(target, mask, flow)
            scores |= dict(l1_inside_copy=l1_inside(copied, target, mask))
            scores |= dict(l1_inside_plain=l1_inside(plain, target, mask))
            scores |= print_scores(image, target, cloth)
            drawings = zip(self.of_cloth, (image, copied, plain), strict=True)
            scores |= {
                name: l1_inside(drawing, target, cloth) if cloth.any() else None
                for name, drawing in drawings
            }
            rest = mask.astype(bool) & ~cloth
            scores["l1_rest"] = l1_inside(image, target, rest) if rest.any() else None
            scores |= more_cloth(sample)
        return scores

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Means over pictures, the share of the way that follows, and how many pictures."""
        found = super().compute_metrics(results)
        if any("l1_inside_copy" in row for row in results):
            found |= {name: mean([row.get(name) for row in results]) for name in self.of_truth}
            rows = [row for row in results if row.get("l1_inside_copy") is not None]
            error, fill, copy = (  # of one set: data may know the flow of some pictures alone
                mean([row[name] for row in rows])
                for name in ("l1_inside", "l1_inside_fill", "l1_inside_copy")
            )
            if None not in (error, fill, copy):
                found["share_of_the_way"] = share_of_the_way(error, fill, copy)
            more = dict.fromkeys(name for row in results for name in row if name in MORE_CLOTH)
            found |= {name: mean([row.get(name) for row in results]) for name in more}
            error, copy, plain = (found[name] for name in self.of_cloth)
            if None not in (error, copy, plain):
                found["share_of_the_print"] = share_of_the_way(error, plain, copy)
        return found | {"pictures": len(results)}
