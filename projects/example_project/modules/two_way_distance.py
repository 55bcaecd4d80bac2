"""An attention loss that asks both ways: from the person to the garment, and back.

An attention loss says what one attention record costs each sample (``sample_values``); layers,
gates, weights, schedules and the reduction over ranks are the base class's. The record answers
questions about its map without ever holding it: ``mean_of(points)`` is where each query looks.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.queries import QuerySet, matched_queries, unit_coordinates
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures import AttentionRecord, Correspondences


@ATTENTION_LOSSES.register_module()
class TwoWayDistanceLoss(AttentionLoss):
    """Huber distance of the point a token looks at to its match, averaged over both directions.

    Back from the garment, the same dot products are normalised over person tokens, so that a match
    is asked to be the best of its row and of its column.

    Reads ``batch["correspondences"]``.

    Args:
        delta: where Huber's distance turns linear, in image widths and heights.
        backward: weight of the way back, in [0, 1]; 0 is the one-way loss.
        shared: what every attention loss takes: weight, layers, t_max and so on.

    Raises:
        ValueError: ``backward`` outside its range.
    """

    def __init__(
        self,
        *,
        delta: float = 0.05,
        backward: float = 0.5,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not 0.0 <= backward <= 1.0:
            raise ValueError(f"TwoWayDistanceLoss: backward must be in [0, 1], not {backward}")
        self.delta, self.backward = delta, backward

    def sample_values(self, record: AttentionRecord, batch: dict) -> tuple[Tensor, QuerySet]:
        """Loss of one layer for each sample, ``(B,)``, and the person tokens it supervised."""
        matches = self.require(batch, "correspondences", "add a matcher to the data set")
        back = [Correspondences(m.garment_points, m.person_points, m.scores) for m in matches]
        forward, queries = self._one_way(record, matches)
        backward, _ = self._one_way(reverse(record), back)
        return torch.lerp(forward, backward, self.backward), queries

    def _one_way(self, record: AttentionRecord, matches) -> tuple[Tensor, QuerySet]:
        queries, target = matched_queries(matches, record.query_grid, record.query.device)
        points = unit_coordinates(record.key_grid, record.query)  # (Nk, 2)
        found = record.mean_of(points).mean(1)  # (B, Nq, 2), over heads
        found = found.gather(1, queries.index[..., None].expand(-1, -1, 2))  # (B, Q, 2)
        distance = F.huber_loss(found, target.to(found), reduction="none", delta=self.delta)
        return queries.mean(distance.sum(-1)), queries


def reverse(record: AttentionRecord) -> AttentionRecord:
    """Garment tokens ask, person tokens answer."""
    return AttentionRecord(
        name=record.name,
        query=record.key,
        key=record.query,
        query_grid=record.key_grid,
        key_grid=record.query_grid,
        scale=record.scale,
    )
