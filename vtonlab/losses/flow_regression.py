"""Refined flows must be the body's own where it is visible (3D-GCL's L_f, METHODS.md 5.5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vtonlab.losses.correlation_regularization import visible_points
from vtonlab.losses.weights import check_weight
from vtonlab.registry import LOSSES
from vtonlab.structures.truth import SOURCES
from vtonlab.utils.upload import upload

NORMALISATIONS = ("visible", "code_compat")


@LOSSES.register_module()
class FlowRegressionLoss(nn.Module):
    """``L_f = sum_l || V . (f_gt - f_l) ||_1`` over the scales of a flow (3D-GCL eq. 6).

    Coordinates are those of the released code, in [-1, 1]: twice a distance in [0, 1]. V is 1 where
    the truth is known and its point lies wholly inside the garment mask.

    Reads ``batch["flow"]`` (or ``batch["correspondences"]``) and ``batch["garment_mask"]``.

    Args:
        weight: factor of the loss.
        normalisation: ``"visible"`` averages over the visible pixels of each sample and then over
            the samples (METHODS.md G3); ``"code_compat"`` over all pixels, as released: a sample
            that shows little garment weighs little.
        truth: ``"flow"``, or ``"correspondences"``: the matches of any matcher, at each scale the
            mean of those in a pixel.
        inside_garment: False keeps pixels whose point lies outside the garment mask.

    Raises:
        ValueError: an unknown ``normalisation`` or ``truth``; a batch without the truth.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        normalisation: str = "visible",
        truth: str = "flow",
        inside_garment: bool = True,
    ) -> None:
        super().__init__()
        check_weight("weight", weight)
        for name, value, known in (
            ("normalisation", normalisation, NORMALISATIONS),
            ("truth", truth, SOURCES),
        ):
            if value not in known:
                raise ValueError(
                    f"FlowRegressionLoss: {name} {value!r} is none of {', '.join(known)}"
                )
        self.weight, self.normalisation = weight, normalisation
        self.truth, self.inside_garment = truth, inside_garment

    def forward(self, flows: Sequence[Tensor], batch: dict) -> dict[str, Tensor]:
        """The weighted loss and what to log with it.

        Args:
            flows: ``(B, h, w, 2)`` each, absolute in [0, 1] over the garment picture.

        Returns:
            ``loss`` scalar, in the graph; detached ``value``: the mean distance per coordinate at
            the last scale, over visible pixels, in [0, 1] of the picture.
        """
        values = [self._scale(flow, batch) for flow in flows]
        loss = torch.stack([value for value, _ in values]).sum() * self.weight
        return {"loss": loss, "value": values[-1][1].detach()}

    def _scale(self, flow: Tensor, batch: dict) -> tuple[Tensor, Tensor]:
        """One scale's term, and the mean error of its visible pixels."""
        points, visible = self._truth(flow, batch)
        error = 2 * (flow - points).abs().mean(-1) * visible  # (B, h, w)
        count = visible.sum((1, 2))
        mean = error.sum((1, 2)) / count.clamp(min=1)  # (B,)
        monitor = 0.5 * mean.sum() / (count > 0).sum().clamp(min=1)
        return (mean if self.normalisation == "visible" else error).mean(), monitor

    def _truth(self, flow: Tensor, batch: dict) -> tuple[Tensor, Tensor]:
        """f_gt (B, h, w, 2) and V (B, h, w) on the flow's grid."""
        grid = tuple(flow.shape[1:3])
        pairs = [
            visible_points(batch, place, grid, self.truth, self.inside_garment)
            for place in range(len(flow))
        ]
        points, visible = (
            upload(torch.stack(part), flow.device, flow.dtype) for part in zip(*pairs, strict=True)
        )
        return points.unflatten(1, grid), visible.unflatten(1, grid)
