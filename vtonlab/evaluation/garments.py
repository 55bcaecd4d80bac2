"""Is it the right garment, in the right colour, at the right place?"""

import numpy as np

from vtonlab.evaluation.base import PairMetric
from vtonlab.evaluation.features import shared_features
from vtonlab.registry import METRICS

_WHITE = 255


def crop_to(mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The bounding box of ``mask`` (H, W) in ``picture`` (H, W, C); all of it if the mask is
    empty.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return picture
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def on_white_square(picture: np.ndarray) -> np.ndarray:
    """``picture`` centred on a white square, nothing stretched."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), _WHITE, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


@METRICS.register_module()
class GarmentSimilarity(PairMetric):
    """Cosine similarity of the generated region and the flat garment, in a network's eyes.

    The result is cut to the bounding box of the mask, the garment to that of its own mask with
    white around it; both go on a white square. Needs no true picture, so it serves the unpaired
    setting too. Compare systems on one list only: the scale depends on the masks.

    Args:
        features: ``"dino"`` or ``"clip"``.
    """

    needs = ("image", "mask", "garment", "garment_mask")

    def __init__(self, *, features: str = "dino", collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device)
        self.features = shared_features(features)
        self.names = (f"{features}_garment_similarity",)
        self.directions = {self.names[0]: "up"}

    @property
    def weights(self):
        return self.features.weights

    def describe(self) -> str:
        return f"garment similarity {self.features.name}"

    def score(self, sample: dict) -> dict[str, float]:
        worn = on_white_square(crop_to(sample["mask"], sample["image"]))
        inside = sample["garment_mask"].astype(bool)
        flat = np.where(inside[..., None], sample["garment"], np.uint8(_WHITE))
        flat = on_white_square(crop_to(inside, flat))
        first, second = self.features(worn), self.features(flat)
        cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
        return {self.names[0]: float(cosine)}


@METRICS.register_module()
class WarpedGarmentIoU(PairMetric):
    """Intersection over union of the warped garment's region and the worn garment's, percent.

    Needs ``warped_mask`` of a model that warps, and ``worn_mask`` of the data (paired).
    """

    names = ("warp_miou",)
    directions = {"warp_miou": "up"}
    needs = ("warped_mask", "worn_mask")

    def describe(self) -> str:
        return "mIoU of the warped garment, mean over pairs, percent"

    def score(self, sample: dict) -> dict[str, float | None]:
        return {"warp_miou": iou(sample["warped_mask"], sample["worn_mask"])}


def iou(first: np.ndarray, second: np.ndarray) -> float | None:
    """Percent; None where both masks are empty."""
    first, second = first.astype(bool), second.astype(bool)
    union = (first | second).sum()
    return float(100 * (first & second).sum() / union) if union else None


@METRICS.register_module()
class ColourFidelity(PairMetric):
    """CIEDE2000 colour difference inside the worn garment of the true picture (scikit-image).

    ``delta_e``: mean over the garment's pixels. ``delta_e_mean_colour``: between the two mean Lab
    colours, which forgives a shifted pattern and sees a wrong dye. Below 1 nobody sees it, above 5
    everybody does.
    """

    names = ("delta_e", "delta_e_mean_colour")
    directions = {"delta_e": "down", "delta_e_mean_colour": "down"}
    needs = ("image", "target", "worn_mask")

    def describe(self) -> str:
        return "CIEDE2000 inside the worn garment, scikit-image, sRGB D65"

    def score(self, sample: dict) -> dict[str, float | None]:
        inside = sample["worn_mask"].astype(bool)
        if not inside.any():
            return dict.fromkeys(self.names)
        image, target = (_lab(sample[key][inside]) for key in ("image", "target"))
        means = _difference(image.mean(0)[None], target.mean(0)[None])
        return {
            "delta_e": float(_difference(image, target).mean()),
            "delta_e_mean_colour": float(means[0]),
        }


def _lab(pixels: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2lab

    return rgb2lab(pixels[None])[0]  # (n, 3) uint8 to Lab


def _difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    from skimage.color import deltaE_ciede2000

    return deltaE_ciede2000(first, second)
