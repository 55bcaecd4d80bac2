"""A matcher without any network: cells of like colour at a like place in the garment.

A matcher gets two uint8 RGB pictures with their masks and returns correspondences in [0, 1] and
what each of its filters removed (``vtonlab/matchers/base.py``).
"""

import numpy as np
import torch

from vtonlab.matchers.base import Matcher, check_mask, check_picture
from vtonlab.matchers.report import MatchReport
from vtonlab.registry import MATCHERS, TRANSFORMS
from vtonlab.structures import Correspondences


@MATCHERS.register_module()
class ColourPositionMatcher(Matcher):
    """Cells that are each other's nearest in (colour, place within the mask's box).

    Args:
        cell: side of a square cell, in pixels.
        place: weight of the place against the colour; both are in [0, 1] per channel.
        max_distance: pairs further apart than this are removed.
    """

    def __init__(self, *, cell: int = 4, place: float = 1.0, max_distance: float = 0.5) -> None:
        self.cell, self.place, self.max_distance = cell, place, max_distance

    @property
    def versions(self) -> dict[str, str]:
        return {"ColourPositionMatcher": "1"}

    def explain(self, person, garment, person_mask=None, garment_mask=None) -> MatchReport:
        """Matches of one pair, and what each filter removed; see :class:`Matcher`."""
        for name, image, mask in (
            ("person", person, person_mask),
            ("garment", garment, garment_mask),
        ):
            check_picture(type(self).__name__, name, image)
            check_mask(type(self).__name__, f"{name}_mask", mask, image)
        person_points, person_features = self._cells(person, person_mask)
        garment_points, garment_features = self._cells(garment, garment_mask)
        if not len(person_points) or not len(garment_points):
            return MatchReport(Correspondences.empty(), {"candidates": 0, "matches": 0})
        distance = torch.cdist(person_features, garment_features)  # (N, M)
        best, answer = distance.min(1)
        mutual = distance.argmin(0)[answer] == torch.arange(len(answer))
        near = best <= self.max_distance
        scores = (-best / self.max_distance).exp()
        found = Correspondences(person_points, garment_points[answer], scores)
        counts = {
            "candidates": len(found),
            "mutual": int((~mutual).sum()),
            "max_distance": int((mutual & ~near).sum()),
            "matches": int((mutual & near).sum()),
        }
        removed = {"mutual": found.subset(~mutual), "max_distance": found.subset(mutual & ~near)}
        return MatchReport(found.subset(mutual & near), counts, removed)

    def _cells(self, image: np.ndarray, mask: np.ndarray | None) -> tuple:
        """Centres ``(N, 2)`` in [0, 1] and features ``(N, 5)`` of the cells whose centre is in the
        mask.
        """
        height, width = (side // self.cell for side in image.shape[:2])
        used = image[: height * self.cell, : width * self.cell] / 255.0
        colour = used.reshape(height, self.cell, width, self.cell, 3).mean((1, 3))
        rows, columns = ((np.arange(n) * self.cell + self.cell // 2) for n in (height, width))
        inside = np.ones((height, width), bool)
        if mask is not None:
            inside = mask[np.ix_(rows, columns)] > 0
        y, x = np.nonzero(inside)
        if not len(x):
            return torch.empty(0, 2), torch.empty(0, 5)
        points = (np.stack([x, y], 1) + 0.5) * self.cell / np.array(image.shape[1::-1])
        low, high = points.min(0), points.max(0)
        box = (points - low) / np.maximum(high - low, 1e-6)
        features = np.concatenate([colour[y, x], self.place * box], 1)
        return torch.from_numpy(points).float(), torch.from_numpy(features).float()


@TRANSFORMS.register_module()
class MatchOnTheFly:
    """Replaces a sample's correspondences by a matcher's, for rendered people.

    Photographs are matched once, by ``tools/extract_matches.py``, and read from its store.

    Args:
        matcher: config of any matcher.
    """

    def __init__(self, *, matcher: dict) -> None:
        self.matcher = MATCHERS.build(matcher)

    def __call__(self, sample: dict) -> dict:
        """Needs ``person``, ``garment``, ``mask`` and ``garment_mask``."""
        pictures = (sample[key] for key in ("person", "garment", "mask", "garment_mask"))
        return {**sample, "correspondences": self.matcher(*pictures)}
