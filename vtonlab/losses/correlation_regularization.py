"""A correlation that must warp as the body's own flow does (3D-GCL's L_o, METHODS.md 5.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.queries import QuerySet, query_set
from vtonlab.losses.record_views import take_queries
from vtonlab.losses.supervised_batch import host_mask, once
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Grid, bilinear_cells, inside_unit
from vtonlab.structures.truth import SOURCES, true_points
from vtonlab.utils.upload import upload


def lands_inside(points: Tensor, mask: Tensor) -> Tensor:
    """Whether all pixels around each point are garment: (N, 2) and (Hg, Wg) -> bool (N,)."""
    cells, weights = bilinear_cells(points, tuple(mask.shape))
    outside = (mask.flatten()[cells] < 0.5) & (weights > 0)
    return inside_unit(points) & ~outside.any(1)


def visible_points(
    batch: Mapping, place: int, grid: Grid, source: str, inside_garment: bool
) -> tuple[Tensor, Tensor]:
    """f_gt and V of one sample on a grid of person tokens: points (N, 2), visible (N,) bool; CPU.

    Args:
        source: see :func:`vtonlab.structures.truth.true_points`.
        inside_garment: only tokens whose point lies wholly inside ``garment_mask`` are visible.
    """
    points, visible = true_points(batch, place, grid, source)
    if inside_garment:
        garment = host_mask(batch, "garment_mask")[place, 0].cpu()
        visible = visible & lands_inside(points, garment)
    return points, visible


@ATTENTION_LOSSES.register_module()
class CorrelationRegularizationLoss(AttentionLoss):
    """``L_o = || M (o_gt - o) G ||_1`` over visible person tokens (3D-GCL eq. 4 and 5).

    o_gt holds the bilinear weights of each token's true garment position in the four garment tokens
    around it, ``M = [o_gt > 0]``, o is the attention, not renormalised there, and G the garment on
    the key grid (RGB in [-1, 1], bilinear), white outside its mask. Differences are averaged over
    channels and tokens.

    Reads ``batch["flow"]`` (or ``batch["correspondences"]``), ``batch["garment"]`` and
    ``batch["garment_mask"]``.

    Args:
        truth: "flow", or "correspondences": the matches of any matcher stand for the body's flow.
        support: "target_cells" is M; "all" compares the whole warped garment ``o G`` instead.
        token_reduction: "visible" averages over visible tokens; "all" divides by every token, as
            3D-GCL's released code does.
        inside_garment: keep only tokens whose true position lies wholly inside the garment mask.
        shared: what every attention loss takes: `AttentionLoss`.
    """

    def __init__(
        self,
        *,
        truth: str = "flow",
        support: str = "target_cells",
        token_reduction: str = "visible",  # noqa: S107 - which tokens count
        inside_garment: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.choose("truth", truth, SOURCES)
        self.choose("support", support, ("target_cells", "all"))
        self.choose("token_reduction", token_reduction, ("visible", "all"))
        self.truth = truth
        self.support = support
        self.token_reduction = token_reduction
        self.inside_garment = inside_garment

    def sample_values(self, record: AttentionRecord, batch: Mapping) -> tuple[Tensor, QuerySet]:
        garment = self._garment(record, batch)  # (B, Nk, 3)
        kind = record.query_grid, record.key_grid, self.truth, self.inside_garment, garment.device
        targets = once(batch, ("visible", *kind), lambda: self._targets(record, batch))
        queries, (sample, position, key, weight) = targets
        pixels = garment[sample, key]  # (E, 3)
        rows = take_queries(record, queries)
        B, Q = queries.index.shape
        place = sample * Q + position
        wanted = _scatter(weight.to(pixels.dtype)[:, None] * pixels, place, B * Q)  # (B * Q, 3)
        if self.support == "all":
            found = rows.mean_of(garment)  # (B, H, Q, 3)
        else:
            share = rows.log_prob(sample, position, key).exp()  # (E, H)
            found = _scatter(share[..., None] * pixels[:, None], place, B * Q)  # (B * Q, H, 3)
            found = found.unflatten(0, (B, Q)).transpose(1, 2)
        if self.head_reduction == "mean":
            found = found.mean(1, keepdim=True)
        wanted = wanted.to(found.dtype).unflatten(0, (B, 1, Q))
        value = queries.mean((found - wanted).abs().mean(-1).mean(1))
        if self.token_reduction == "all":  # noqa: S105 - as above
            value = value * queries.count.to(value.dtype) / record.query.shape[2]
        return value, queries

    def _garment(self, record: AttentionRecord, batch: Mapping) -> Tensor:
        """Garment pixels on the key grid, white outside the garment: ``(B, Nk, 3)``."""
        hint = "ask the data set for garment_mask"
        garment = self.require(batch, "garment", "it is part of every sample")
        mask = self.require(batch, "garment_mask", hint)
        dtype = torch.promote_types(record.query.dtype, torch.float32)
        garment, mask = (x.to(record.query.device, dtype) for x in (garment, mask))
        picture = garment * mask + (1 - mask)
        picture = F.interpolate(picture, record.key_grid, mode="bilinear", align_corners=False)
        return picture.flatten(2).mT

    def _targets(
        self, record: AttentionRecord, batch: Mapping
    ) -> tuple[QuerySet, tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Visible tokens, and o_gt as sparse (sample, place in its list, garment token, weight)."""
        indices, entries = [], []
        for sample in range(len(record.query)):
            points, visible = visible_points(
                batch, sample, record.query_grid, self.truth, self.inside_garment
            )
            index = visible.nonzero()[:, 0]
            cells, weights = bilinear_cells(points[index].double(), record.key_grid)  # (Q, 4)
            kept = weights > 0
            position = torch.arange(len(index))[:, None].expand_as(cells)[kept]
            indices.append(index)
            entries.append(
                (torch.full_like(position, sample), position, cells[kept], weights[kept])
            )
        device = record.query.device
        columns = tuple(upload(torch.cat(c), device) for c in zip(*entries, strict=True))
        return query_set(indices, device), columns


def _scatter(values: Tensor, place: Tensor, size: int) -> Tensor:
    """Sum ``values (E, ...)`` into ``(size, ...)`` at ``place (E,)``."""
    return values.new_zeros(size, *values.shape[1:]).index_add(0, place, values)
