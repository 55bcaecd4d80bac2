"""Distil external correspondences into attention (CORAL's L_corr, METHODS.md 1.3 and 1.8)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.queries import QuerySet, batch_matches, batch_targets, unit_coordinates
from vtonlab.losses.record_views import log_mass, take_queries
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures.attention_record import AttentionRecord


def coordinate_distance(predicted: Tensor, target: Tensor, distance: str, delta: float) -> Tensor:
    """Distance of points ``(..., 2)``: |dx| + |dy|, dx^2 + dy^2, or the sum of Huber's of each."""
    if distance == "l1":
        return (predicted - target).abs().sum(-1)
    if distance == "l2":
        return (predicted - target).square().sum(-1)
    target = target.expand_as(predicted)
    return F.huber_loss(predicted, target, reduction="none", delta=delta).sum(-1)


def sparse_cross_entropy(log_prob: Tensor, head_reduction: str) -> Tensor:
    """-log attention at E places from per-head log attention ``(E, H)`` -> ``(E,)``.

    "mean" is -log of the head-averaged probability, exact by a logsumexp over heads; "none"
    averages the heads' own.
    """
    if head_reduction == "none":
        return -log_prob.mean(1)
    return math.log(log_prob.shape[1]) - torch.logsumexp(log_prob, 1)


@ATTENTION_LOSSES.register_module()
class CorrespondenceDistillationLoss(AttentionLoss):
    """Attention of each reliable person token must find its matched garment point.

    ``form="regression"`` (CORAL): ``j_hat(i) = sum_j A[i, j] x_j``, then ``d(j_hat(i), j_GT(i))``
    with coordinates in [0, 1]. ``form="cross_entropy"``: ``-sum_j p[i, j] log A[i, j]`` against the
    rasterised matches p. Both are means over the reliable tokens of a sample; A is the softmax over
    garment keys.

    Reads ``batch["correspondences"]``.

    Args:
        form: "regression" or "cross_entropy".
        distance: of the regression: "l1" (sum of both axes), "l2" (squared Euclidean) or "huber".
        huber_delta: where Huber's distance turns linear, in image widths and heights.
        interpolation: of the cross-entropy targets: "nearest" or "bilinear".
        normalization: "garment" is the softmax over garment keys (METHODS.md A1); "joint" takes the
            block's whole softmax: the regression drops all other tokens and renormalises the head
            mean, so that each head weighs as much as its garment mass; the cross-entropy keeps the
            probabilities as they are, so that it raises the garment mass too.
        t_max: strict gate, 500 is SD-1.5's; on a flow-matching schedule 617 has the same
            signal-to-noise ratio (METHODS.md A9).
        shared: what every attention loss takes: `AttentionLoss`.
    """

    def __init__(
        self,
        *,
        form: str = "regression",
        distance: str = "l1",
        huber_delta: float = 0.05,
        interpolation: str = "bilinear",
        normalization: str = "garment",
        t_max: float | None = 500.0,
        **shared: Any,
    ) -> None:
        super().__init__(t_max=t_max, **shared)
        self.choose("form", form, ("regression", "cross_entropy"))
        self.choose("distance", distance, ("l1", "l2", "huber"))
        self.choose("interpolation", interpolation, ("nearest", "bilinear"))
        self.choose("normalization", normalization, ("garment", "joint"))
        heads = self.head_reduction
        if normalization == "joint" and form == "regression" and heads != "mean":
            warnings.warn(
                f'normalization="joint" changes nothing with head_reduction={heads!r}: '
                "renormalised, one head's map is the same either way",
                stacklevel=2,
            )
        self.form = form
        self.distance = distance
        self.huber_delta = huber_delta
        self.interpolation = interpolation
        self.normalization = normalization

    def sample_values(self, record: AttentionRecord, batch: Mapping) -> tuple[Tensor, QuerySet]:
        self.require(batch, "correspondences", "set the data set's matches")
        if self.form == "regression":
            return self._regression(record, batch)
        return self._cross_entropy(record, batch)

    def _regression(self, record: AttentionRecord, batch: Mapping) -> tuple[Tensor, QuerySet]:
        queries, target = batch_matches(batch, record.query_grid, record.query.device)
        points = unit_coordinates(record.key_grid, record.query)  # (Nk, 2)
        rows = take_queries(record, queries)
        found = rows.mean_of(points)  # (B, H, Q, 2)
        if self.head_reduction == "mean":
            if self.normalization == "joint":
                share = log_mass(rows, rows.context_key).softmax(1)  # (B, H, Q), of the heads
                found = (found * share[..., None]).sum(1, keepdim=True)
            else:
                found = found.mean(1, keepdim=True)
        target = target.to(found.dtype)[:, None]  # (B, 1, Q, 2)
        distance = coordinate_distance(found, target, self.distance, self.huber_delta)
        return queries.mean(distance.mean(1)), queries

    def _cross_entropy(self, record: AttentionRecord, batch: Mapping) -> tuple[Tensor, QuerySet]:
        targets = batch_targets(batch, record, self.interpolation).seen(record)
        rows = take_queries(record, targets.queries)
        log_prob = rows.log_prob(targets.batch, targets.position, targets.key)  # (E, H)
        if self.normalization == "joint":
            mass = log_mass(rows, rows.context_key)  # (B, H, Q)
            log_prob = log_prob + mass[targets.batch, :, targets.position]
        values = sparse_cross_entropy(log_prob, self.head_reduction)
        return targets.sample_mean(values), targets.queries
