"""Make attention decide (CORAL's L_ent, METHODS.md 1.3 and A7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.queries import QuerySet, batch_mask, batch_matches
from vtonlab.losses.record_views import take_queries
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures.attention_record import AttentionRecord


@ATTENTION_LOSSES.register_module()
class AttentionEntropyLoss(AttentionLoss):
    """``H_i = -sum_j A[i, j] log A[i, j]`` over garment keys, mean over supervised person tokens.

    Soft-argmax can be right on average while attention has several modes; entropy tells them apart.

    Reads ``batch["correspondences"]``, or ``batch["worn_mask"]`` (``batch["mask"]`` without it).

    Args:
        queries: "correspondences" supervises the tokens that hold a match, "mask" those on the
            worn garment.
        normalize: divide by log Nk, so that a uniform map costs 1 at every resolution.
        t_max: strict gate, 500 is SD-1.5's; on a flow-matching schedule 617 has the same
            signal-to-noise ratio (METHODS.md A9).
        shared: what every attention loss takes: `AttentionLoss`.
    """

    def __init__(
        self,
        *,
        queries: str = "correspondences",
        normalize: bool = True,
        t_max: float | None = 500.0,
        **shared: Any,
    ) -> None:
        super().__init__(t_max=t_max, **shared)
        self.choose("queries", queries, ("correspondences", "mask"))
        self.queries = queries
        self.normalize = normalize

    def sample_values(self, record: AttentionRecord, batch: Mapping) -> tuple[Tensor, QuerySet]:
        queries = self._queries(record, batch)
        if self.head_reduction == "mean":
            value = take_queries(record, queries).weighted_map_entropy(queries.weight)  # (B,)
            value = value / queries.count.to(value.dtype).clamp(min=1)
        else:
            entropy = take_queries(record, queries).entropy()  # (B, H, Q)
            value = queries.mean(entropy.mean(1))
        if self.normalize:
            value = value / math.log(max(record.key.shape[2], 2))
        return value, queries

    def _queries(self, record: AttentionRecord, batch: Mapping) -> QuerySet:
        device = record.query.device
        if self.queries == "correspondences":
            self.require(batch, "correspondences", 'set matches, or queries="mask"')
            return batch_matches(batch, record.query_grid, device)[0]
        name = "worn_mask" if "worn_mask" in batch else "mask"
        self.require(batch, name, "ask the data set for worn_mask or mask")
        return batch_mask(batch, name, record.query_grid, device)
