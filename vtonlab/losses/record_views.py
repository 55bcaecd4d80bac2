"""Records derived from a record: every question can be asked of them too, at linear cost."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vtonlab.structures.attention_record import AttentionRecord


def _like(record: AttentionRecord, **changes) -> AttentionRecord:
    fields = ("name", "query", "key", "query_grid", "key_grid", "scale", "context_key")
    return AttentionRecord(**{f: getattr(record, f) for f in fields} | changes)


def take_queries(record: AttentionRecord, index: Tensor) -> AttentionRecord:
    """The rows ``index (B, Q)`` of a record, as a record with a query grid of one row."""
    B, H, _, D = record.query.shape
    rows = index[:, None, :, None].expand(B, H, index.shape[1], D)
    return _like(record, query=record.query.gather(2, rows), query_grid=(1, index.shape[1]))


def log_mass(record: AttentionRecord, other_key: Tensor | None, temperature: float = 1.0) -> Tensor:
    """log of the share of a softmax over garment keys and ``other_key`` that the garment has.

    Finite however small the share is, so that heads can be weighed by it. ``other_key`` is
    (B, H, N, D) or (H, N, D); None or no keys leave the garment everything. Returns (B, H, Nq).
    """
    garment = record.logsumexp(temperature)
    if other_key is None or other_key.shape[-2] == 0:
        return torch.zeros_like(garment)
    other_key = other_key.expand(len(record.query), *other_key.shape[-3:])
    other = _like(record, key=other_key, key_grid=(1, other_key.shape[2]), context_key=None)
    return F.logsigmoid(garment - other.logsumexp(temperature))


def detached(record: AttentionRecord) -> AttentionRecord:
    """The same record outside the graph."""
    context = record.context_key
    return _like(
        record,
        query=record.query.detach(),
        key=record.key.detach(),
        context_key=None if context is None else context.detach(),
    )


def mean_logit(record: AttentionRecord) -> AttentionRecord:
    """One head whose logits are the mean of all heads': their channels side by side, scale / H."""
    context = record.context_key
    return _like(
        record,
        query=side_by_side(record.query),
        key=side_by_side(record.key),
        context_key=None if context is None else side_by_side(context),
        scale=record.scale / record.query.shape[1],
    )


def side_by_side(heads: Tensor) -> Tensor:
    """``(..., H, N, D)`` -> ``(..., 1, N, H * D)``."""
    return heads.transpose(-3, -2).flatten(-2).contiguous().unsqueeze(-3)
