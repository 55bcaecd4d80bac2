"""Smooth attention centroids (StableVITON's total variation loss, METHODS.md 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.queries import QuerySet, batch_mask, mask_on_grid, unit_coordinates
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Grid


def masked_total_variation(field: Tensor, mask: Tensor, pair_count: str = "sample") -> Tensor:
    """Mean absolute difference of vertical neighbours plus that of horizontal neighbours.

    Only pairs with both ends inside the mask count; the channels of a pair are summed.

    Args:
        field: ``(B, C, h, w)``.
        mask: bool ``(B, h, w)``.
        pair_count: divide by each sample's own pairs, or by the mean number in the "batch".

    Returns:
        ``(B,)``; zero where a sample has no pair.
    """
    total = field.new_zeros(len(field))
    for axis in (1, 2):
        n = mask.shape[axis]
        both = mask.narrow(axis, 1, n - 1) & mask.narrow(axis, 0, n - 1)
        step = field.narrow(axis + 1, 1, n - 1) - field.narrow(axis + 1, 0, n - 1)
        count = both.sum((1, 2)).to(field.dtype)  # (B,)
        summed = (step.abs().sum(1) * both).sum((1, 2))
        if pair_count == "batch":
            total = total + summed * len(field) / count.sum().clamp(min=1)
        else:
            total = total + summed / count.clamp(min=1)
    return total


@ATTENTION_LOSSES.register_module()
class AttentionTVLoss(AttentionLoss):
    """``|| grad(F * M) ||_1`` with ``F[i] = sum_j A[i, j] x_j`` the attention centroid of token i.

    M is the worn garment on the token grid; differences across its border do not count. Centroids
    are in token units (row and column index of the garment grid), as the released weight of 1e-3
    was tuned on. Each direction is divided by its number of pairs within the sample.

    Reads ``batch["worn_mask"]``.

    Args:
        grids: query grids to supervise, e.g. ``[(32, 24)]``; None supervises every layer.
        normalize_coordinates: centroids in [0, 1] over the garment picture instead.
        pair_count: "sample", or "batch" as in StableVITON's released code, which divides by the
            pairs of the whole local batch (ranks then no longer agree with one large batch).
        mask_read_at: of a token's cell, where M is read: its "centre", or its upper left "corner"
            as the released code does, which moves M by half a token.
        shared: what every attention loss takes: `AttentionLoss`.
    """

    def __init__(
        self,
        *,
        grids: Sequence[Grid] | None = None,
        normalize_coordinates: bool = False,
        pair_count: str = "sample",
        mask_read_at: str = "centre",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.choose("pair_count", pair_count, ("sample", "batch"))
        self.choose("mask_read_at", mask_read_at, ("centre", "corner"))
        self.grids = None if grids is None else [tuple(g) for g in grids]
        self.normalize_coordinates = normalize_coordinates
        self.pair_count, self.mask_read_at = pair_count, mask_read_at
        self.reads_whole_batch = pair_count == "batch"

    def accepts(self, record: AttentionRecord, batch: Mapping) -> bool:
        return self.grids is None or tuple(record.query_grid) in self.grids

    def sample_values(self, record: AttentionRecord, batch: Mapping) -> tuple[Tensor, QuerySet]:
        worn = self.require(batch, "worn_mask", "ask the data set for worn_mask")
        worn = worn.to(record.query.device)
        coordinates = unit_coordinates(record.key_grid, record.query)  # (Nk, 2)
        if not self.normalize_coordinates:
            h, w = record.key_grid
            x, y = coordinates.unbind(-1)
            coordinates = torch.stack([x * w - 0.5, y * h - 0.5], -1)
        centroids = record.moments(coordinates).mean  # (B, H, Nq, 2)
        if self.head_reduction == "mean":
            centroids = centroids.mean(1, keepdim=True)
        B, H, _, _ = centroids.shape
        field = centroids.flatten(0, 1).mT.unflatten(2, record.query_grid)  # (B * H, 2, h, w)
        mask = mask_on_grid(worn, record.query_grid, self.mask_read_at).repeat_interleave(H, 0)
        value = masked_total_variation(field, mask, self.pair_count)
        place = record.query_grid, record.query.device, self.mask_read_at
        queries = batch_mask(batch, "worn_mask", *place)
        return value.view(B, H).mean(1), queries
