"""Cross-entropy of attention rows against keypoint matches (SIFT-VTON, METHODS.md 2.3, 2.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.correspondence_distillation import sparse_cross_entropy
from vtonlab.losses.queries import QuerySet, batch_targets
from vtonlab.losses.record_views import take_queries
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures.attention_record import AttentionRecord


@ATTENTION_LOSSES.register_module()
class KeypointAttentionLoss(AttentionLoss):
    """``-1 / (L H |M|) sum_{l, h, i} sum_j p[i, j] log q_{l, h}[i, j]`` (SIFT-VTON eq. 1 and 2).

    p is the histogram over garment tokens of the matches inside person token i, M the tokens that
    hold any; q is the softmax over garment tokens, each head by itself. The released code sums
    layers and samples (``layer_reduction="sum"``, ``sample_reduction="sum"``) and floors q
    (``probability_floor=1e-8``).

    Reads ``batch["correspondences"]``.

    Args:
        interpolation: of the targets: "nearest" (the paper's histogram) or "bilinear".
        probability_floor: added to q inside the logarithm.
        t_max: strict gate, the paper's eta.
        shared: what every attention loss takes: `AttentionLoss`.
    """

    def __init__(
        self,
        *,
        interpolation: str = "nearest",
        probability_floor: float = 0.0,
        t_max: float | None = 500.0,
        head_reduction: str = "none",
        **shared: Any,
    ) -> None:
        super().__init__(t_max=t_max, head_reduction=head_reduction, **shared)
        self.choose("interpolation", interpolation, ("nearest", "bilinear"))
        self.interpolation = interpolation
        self.probability_floor = probability_floor

    def sample_values(self, record: AttentionRecord, batch: Mapping) -> tuple[Tensor, QuerySet]:
        self.require(batch, "correspondences", "set the data set's matches")
        targets = batch_targets(batch, record, self.interpolation).seen(record)
        rows = take_queries(record, targets.queries)
        log_prob = rows.log_prob(targets.batch, targets.position, targets.key)  # (E, H)
        if self.probability_floor:
            floor = log_prob.new_full((), math.log(self.probability_floor))
            log_prob = torch.logaddexp(log_prob, floor)
        values = sparse_cross_entropy(log_prob, self.head_reduction)
        return targets.sample_mean(values), targets.queries
