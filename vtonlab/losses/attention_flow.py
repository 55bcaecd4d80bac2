"""Attention as a flow that must warp the garment onto the person (Leffa, METHODS.md 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.queries import QuerySet, batch_mask
from vtonlab.losses.record_views import log_mass, side_by_side
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Grid


def corner_coordinates(grid: Grid, like: Tensor) -> Tensor:
    """``(h * w, 2)``: x and y from -1 at the first token to 1 at the last (align_corners=True)."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    y, x = (torch.linspace(-1, 1, n, dtype=dtype, device=like.device) for n in grid)
    y, x = (c if len(c) > 1 else torch.zeros_like(c) for c in (y, x))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)


def warp_by_flow(picture: Tensor, flow: Tensor, size: Grid) -> Tensor:
    """Sample ``picture (B, C, Hg, Wg)`` at ``flow (B, 2, h, w)`` upsampled to ``size``.

    The flow holds absolute corner coordinates (x, y) in [-1, 1]; Leffa eq. 3. Returns
    ``(B, C, *size)``.
    """
    flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=True)
    grid = flow.permute(0, 2, 3, 1)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=True)


def averaged(picture: Tensor, size: Grid) -> Tensor:
    """``picture (B, C, H, W)`` in ``size`` cells, each the mean of its pixels."""
    return F.adaptive_avg_pool2d(picture, size)


@ATTENTION_LOSSES.register_module()
class AttentionFlowLoss(AttentionLoss):
    """``|| I_tgt I_m - I_warp I_m ||_2^2``, I_warp the garment warped by attention (eq. 2 to 4).

    ``A = softmax(Q K^T scale / temperature)`` over garment keys and sinks, averaged over heads;
    ``Flow = A C`` with corner coordinates C; upsampled to the person picture; absolute, no offset.
    Squared differences are averaged over channels and masked pixels and summed over layers.

    Sinks are learnable keys a query may attend to instead of the garment; their columns are dropped
    after the head mean and the rest is renormalised, so each head weighs as much as its mass.

    Reads ``batch["garment"]``, ``batch["target"]`` (``batch["person"]`` without it) and
    ``batch["worn_mask"]`` or ``batch["mask"]``.

    Args:
        temperature: divides the logits in the loss only.
        min_grid_ratio: supervise layers with query grid height / picture height above this.
        inclusive_ratio: also those exactly at the ratio.
        sink_dims: ``{layer name: (heads, head_dim)}``, one set of sinks for each supervised layer
            and supervised head; None for no sinks.
        num_sinks: sinks per layer and head.
        renormalize: False lets the sinks keep their share, which pulls the flow to the centre.
        region: "worn_mask", "mask" or "auto": the first of them that the batch has.
        upsample: False compares at the size of the token grid instead: the flow stays as it is,
            pictures and mask are averaged down to it (an ablation of the paper).
        pixel_reduction: "mean" or "sum" over masked pixels and channels.
        t_max: strict gate, the paper's theta_t.
        shared: what every attention loss takes: `AttentionLoss`.
    """

    def __init__(
        self,
        *,
        temperature: float = 2.0,
        min_grid_ratio: float = 1 / 32,
        inclusive_ratio: bool = False,
        sink_dims: Mapping[str, tuple[int, int]] | None = None,
        num_sinks: int = 1,
        renormalize: bool = True,
        region: str = "auto",
        upsample: bool = True,
        pixel_reduction: str = "mean",
        t_max: float | None = 500.0,
        layer_reduction: str = "sum",
        **shared: Any,
    ) -> None:
        super().__init__(t_max=t_max, layer_reduction=layer_reduction, **shared)
        if min_grid_ratio < 0:
            raise ValueError(f"min_grid_ratio={min_grid_ratio}: 0 (every grid) or more is needed")
        self.choose("region", region, ("auto", "worn_mask", "mask"))
        self.choose("pixel_reduction", pixel_reduction, ("mean", "sum"))
        self.temperature = temperature
        self.min_grid_ratio = min_grid_ratio
        self.inclusive_ratio = inclusive_ratio
        self.renormalize = renormalize
        self.region = region
        self.upsample = upsample
        self.pixel_reduction = pixel_reduction
        self.sinks = nn.ParameterDict(
            {
                name.replace(".", "/"): nn.Parameter(torch.zeros(heads, num_sinks, dim))
                for name, (heads, dim) in (sink_dims or {}).items()
            }
        )

    def accepts(self, record: AttentionRecord, batch: Mapping) -> bool:
        person = self.require(batch, "person", "it is part of every sample")
        rows, height = record.query_grid[0], person.shape[-2]
        ratio = rows / height
        return ratio > self.min_grid_ratio or (
            self.inclusive_ratio and ratio == self.min_grid_ratio
        )

    def sample_values(self, record: AttentionRecord, batch: Mapping) -> tuple[Tensor, QuerySet]:
        device, region = record.query.device, self._region(batch)
        mask = batch[region]
        person = batch["target"] if "target" in batch else batch["person"]
        garment = self.require(batch, "garment", "it is part of every sample")
        flow = self.flow(record)  # (B, H, Nq, 2)
        B, H, _, _ = flow.shape
        person, garment, mask = (x.to(device, flow.dtype) for x in (person, garment, mask))
        supervised = batch_mask(batch, region, record.query_grid, device)
        if not self.upsample:
            person, mask = (averaged(x, record.query_grid) for x in (person, mask))
            garment = averaged(garment, record.key_grid)
        field = flow.flatten(0, 1).mT.unflatten(2, record.query_grid)  # (B * H, 2, h, w)
        warped = warp_by_flow(garment.repeat_interleave(H, 0), field, person.shape[-2:])
        squares = (warped.unflatten(0, (B, H)) - person[:, None]).square() * mask[:, None]
        value = squares.sum((2, 3, 4)).mean(1)  # (B,)
        if self.pixel_reduction == "mean":
            value = value / (mask.sum((1, 2, 3)) * person.shape[1]).clamp(min=1)
        return value, supervised

    def flow(self, record: AttentionRecord) -> Tensor:
        """Where each token looks, in corner coordinates: ``(B, 1, Nq, 2)``, or a flow per head."""
        corners = corner_coordinates(record.key_grid, record.query)
        flow = record.moments(corners, temperature=self.temperature).mean  # (B, H, Nq, 2)
        sink = self._sink(record)
        if sink is not None:
            share = log_mass(record, sink, self.temperature)  # (B, H, Nq)
            if not self.renormalize:
                flow = flow * share.exp()[..., None]
            elif self.head_reduction == "mean":
                return (flow * share.softmax(1)[..., None]).sum(1, keepdim=True)
        return flow.mean(1, keepdim=True) if self.head_reduction == "mean" else flow

    def _sink(self, record: AttentionRecord) -> Tensor | None:
        """Sink keys of a layer, ``(H, S, D)``; ``ValueError`` for a layer without its own, or with
        those of other heads.
        """
        if not self.sinks:
            return None
        key = record.name.replace(".", "/")
        if key not in self.sinks:
            known = ", ".join(name.replace("/", ".") for name in self.sinks)
            raise ValueError(
                f"AttentionFlowLoss: sink_dims has no entry for layer {record.name!r}, only for "
                f"{known}; add {record.name!r}: (heads, head_dim)"
            )
        sink = self.sinks[key]
        if self.head_reduction == "mean_logit":
            sink = side_by_side(sink)
        given, wanted = sink.shape[::2], (record.query.shape[1], record.query.shape[3])
        if given != wanted:
            raise ValueError(
                f"AttentionFlowLoss: sink_dims gives layer {record.name!r} {given[0]} heads of "
                f"{given[1]}; those that are supervised (heads=) are {wanted[0]} of {wanted[1]}"
            )
        return sink

    def _region(self, batch: Mapping) -> str:
        """The key of the mask that is supervised."""
        name = self.region
        if name == "auto":
            name = "worn_mask" if "worn_mask" in batch else "mask"
        self.require(batch, name, "ask the data set for worn_mask or mask")
        return name
