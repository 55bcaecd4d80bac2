"""An attention loss in one method: where a person token looks on average, against its match."""

from torch import Tensor

from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.queries import QuerySet, matched_queries
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures import AttentionRecord
from vtonlab.structures.correspondences import cell_centres


@ATTENTION_LOSSES.register_module()
class PointDistanceLoss(AttentionLoss):
    """L1 distance, in picture widths and heights; reads ``batch["correspondences"]``."""

    def sample_values(self, record: AttentionRecord, batch: dict) -> tuple[Tensor, QuerySet]:
        """(B,), zero for a sample without matches, and the queries that were supervised."""
        matches = self.require(batch, "correspondences", "set the data set's matches")
        queries, target = matched_queries(matches, record.query_grid, record.query.device)
        points = cell_centres(record.key_grid).to(record.query)  # (Nk, 2)
        looked = record.mean_of(points).mean(1)  # (B, Nq, 2), over heads
        looked = looked.gather(1, queries.index[..., None].expand(-1, -1, 2))  # (B, Q, 2)
        return queries.mean((looked - target.to(looked)).abs().sum(-1)), queries
