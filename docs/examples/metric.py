"""A metric in one method: do the edges inside the mask lie where they should?"""

import numpy as np

from vtonlab.evaluation.base import PairMetric
from vtonlab.evaluation.prints import gradients
from vtonlab.registry import METRICS


@METRICS.register_module()
class EdgeError(PairMetric):
    """``edge_error``: mean difference of gradient lengths inside the mask, grey levels a pixel."""

    names = ("edge_error",)
    directions = {"edge_error": "down"}
    needs = ("image", "target", "mask")

    def score(self, sample: dict) -> dict[str, float | None]:
        """Of one pair; None where the mask is empty."""
        inside = np.asarray(sample["mask"]).astype(bool)
        if not inside.any():
            return dict(edge_error=None)
        drawn, true = (np.hypot(*gradients(sample[key])) for key in ("image", "target"))
        return dict(edge_error=float(np.abs(drawn - true)[inside].mean()))
