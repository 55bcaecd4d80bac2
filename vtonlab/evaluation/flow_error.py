"""How far a flow misses the true place in the garment."""

import numpy as np

from vtonlab.evaluation.base import PairMetric
from vtonlab.registry import METRICS


def end_point_error(
    found: np.ndarray, truth: np.ndarray, visible: np.ndarray, garment_size: tuple[int, int]
) -> float | None:
    """Mean distance of two flows over visible pixels, in pixels of the garment picture.

    Flows (h, w, 2) are absolute ``(x, y)`` in [0, 1]; None where nothing is visible.
    """
    if not visible.any():
        return None
    height, width = garment_size
    misses = (found[visible] - truth[visible]) * np.array([width, height], np.float64)
    return float(np.hypot(*misses.T).mean())


@METRICS.register_module()
class FlowError(PairMetric):
    """``end_point_error``: distance of a warping model's flow from the true one, in pixels, mean
    over the pixels whose true place is known, then over pairs.

    Needs ``warped_flow`` of the model, and ``flow`` of the data, of one size.
    """

    names = ("end_point_error",)
    directions = {"end_point_error": "down"}
    needs = ("warped_flow", "flow")

    def describe(self) -> str:
        return "end-point error in pixels over visible pixels, mean over pairs"

    def score(self, sample: dict) -> dict[str, float | None]:
        found, truth = sample["warped_flow"], sample["flow"]
        if found.shape[:2] != truth.size:
            raise ValueError(
                f"FlowError: the flow of {sample['id']!r} is {found.shape[:2]}, the true one "
                f"{truth.size}"
            )
        arrays = truth.flow.numpy(), truth.visible.numpy()
        return {self.names[0]: end_point_error(found, *arrays, truth.size)}
