"""SuperPoint keypoints matched by LightGlue, through transformers."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vtonlab.matchers.base import Matcher, check_mask, check_picture, weights_version
from vtonlab.matchers.report import MatchReport
from vtonlab.registry import MATCHERS
from vtonlab.structures import Correspondences


@MATCHERS.register_module()
class LightGlueMatcher(Matcher):
    """Learned sparse matches, scored by LightGlue's confidence.

    Args:
        model: hub name or local folder of a ``LightGlueForKeypointMatching``.
        size: ``(height, width)`` both pictures are matched at.
        min_score: smallest confidence of a match.
    """

    def __init__(
        self,
        *,
        model: str = "ETH-CVG/lightglue_superpoint",
        size: tuple[int, int] = (640, 480),
        min_score: float = 0.2,
    ) -> None:
        self.model_name, self.size, self.min_score = model, tuple(size), min_score
        self.device, self.network = "cpu", None

    @property
    def versions(self) -> dict[str, str]:
        import transformers

        weights = weights_version(self.model_name, self.network)
        found = {"transformers": transformers.__version__, "weights": weights}
        return {"LightGlueMatcher": "1", **found}

    def to(self, device: str) -> LightGlueMatcher:
        """Load the network on ``device``; missing weights are an error here, before any pair."""
        from transformers import LightGlueForKeypointMatching

        try:
            network = LightGlueForKeypointMatching.from_pretrained(self.model_name)
        except OSError as error:
            raise FileNotFoundError(
                f"LightGlueMatcher cannot load {self.model_name!r}: "
                f"{str(error).strip().splitlines()[0]}; give model= a local folder, or go online"
            ) from None
        self.device, self.network = device, network.to(device).eval()
        return self

    def explain(
        self,
        person: np.ndarray,
        garment: np.ndarray,
        person_mask: np.ndarray | None = None,
        garment_mask: np.ndarray | None = None,
    ) -> MatchReport:
        """Matches whose two ends lie in the masks."""
        check_picture("LightGlueMatcher", "person", person)
        check_picture("LightGlueMatcher", "garment", garment)
        check_mask("LightGlueMatcher", "person_mask", person_mask, person)
        check_mask("LightGlueMatcher", "garment_mask", garment_mask, garment)
        if self.network is None:
            self.to(self.device)
        pixels = torch.stack([_as_input(x, self.size) for x in (person, garment)])
        with torch.inference_mode():
            output = self.network(pixel_values=pixels[None].to(self.device))  # (1, 2, 3, h, w)
        partner, score = output.matches[0, 0].cpu(), output.matching_scores[0, 0].cpu()
        real = output.mask[0].bool().cpu()
        found = (partner >= 0) & (partner < int(real[1].sum())) & real[0]
        first, second = self._unit(output.keypoints[0].cpu())  # (K, 2) each
        first, second, score = first[found], second[partner[found].long()], score[found]
        steps = {
            "score": score >= max(self.min_score, 1e-6),
            "person_mask": _inside(first, person_mask),
            "garment_mask": _inside(second, garment_mask),
        }
        counts = {"candidates": len(score)}
        keep = torch.ones(len(score), dtype=torch.bool)
        for name, passed in steps.items():
            counts[name] = int((keep & ~passed).sum())
            keep &= passed
        counts["matches"] = int(keep.sum())
        return MatchReport(Correspondences(first[keep], second[keep], score[keep]), counts)

    def _unit(self, keypoints: Tensor) -> Tensor:
        """transformers gives pixel index over size; ours counts to the pixel's centre."""
        half = 0.5 / torch.tensor(self.size[::-1], dtype=torch.float32)
        return (keypoints.float() + half).clamp(0, 1)


def _as_input(image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """``(3, h, w)`` float32 in [0, 1]; grey in all channels, as SuperPoint was trained."""
    how = cv2.INTER_AREA if image.shape[0] > size[0] else cv2.INTER_LINEAR
    image = cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=how)
    grey = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).float() / 255
    return grey.expand(3, *size)


def _inside(points: Tensor, mask: np.ndarray | None) -> Tensor:
    """Which points ``(M, 2)`` lie on the mask; all for None."""
    if mask is None:
        return torch.ones(len(points), dtype=torch.bool)
    h, w = mask.shape
    x = (points[:, 0] * w).long().clamp(0, w - 1)
    y = (points[:, 1] * h).long().clamp(0, h - 1)
    return torch.from_numpy(mask > 0)[y, x]
