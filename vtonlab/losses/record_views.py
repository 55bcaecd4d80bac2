"""Records derived from a record: every question can be asked of them too, at linear cost."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vtonlab.losses.queries import QuerySet
from vtonlab.losses.supervised_batch import SupervisedBatch
from vtonlab.structures.attention_record import AttentionRecord


def _like(record: AttentionRecord, **changes) -> AttentionRecord:
    fields = ("name", "query", "key", "query_grid", "key_grid", "scale")
    fields += ("context_key", "key_mask", "context_mask", "reference")
    return AttentionRecord(**{f: getattr(record, f) for f in fields} | changes)


# Views of a record live as long as it does: one training step.
_views: WeakKeyDictionary[AttentionRecord, list] = WeakKeyDictionary()
_masses: WeakKeyDictionary[AttentionRecord, Tensor] = WeakKeyDictionary()
_heads: WeakKeyDictionary[AttentionRecord, dict] = WeakKeyDictionary()


def take_samples(record: AttentionRecord, batch: SupervisedBatch) -> AttentionRecord:
    """The samples of ``batch`` of a record over the whole batch; itself where they are all."""
    if batch.samples is None:
        return record
    names = ("query", "key", "context_key", "key_mask", "context_mask")
    parts = {name: getattr(record, name) for name in names}
    return _like(
        record, **{name: None if p is None else batch.rows(p) for name, p in parts.items()}
    )


def take_heads(record: AttentionRecord, heads: tuple[int, ...] | None) -> AttentionRecord:
    """Some heads of a record, shared by all who ask for them; itself for None.

    Raises:
        ValueError: the layer has no head of such a number.
    """
    count = record.query.shape[1]
    if heads is None or heads == tuple(range(count)):
        return record
    if max(heads) >= count:
        raise ValueError(
            f"heads={list(heads)}: attention record {record.name!r} has heads 0 to {count - 1}"
        )
    kept = _heads.setdefault(record, {})
    key = heads, torch.is_grad_enabled()
    if key not in kept:
        names = ("query", "key", "context_key")
        parts = {name: getattr(record, name) for name in names}
        some = list(heads)
        kept[key] = _like(
            record, **{name: None if p is None else p[..., some, :, :] for name, p in parts.items()}
        )
    return kept[key]


def take_queries(record: AttentionRecord, queries: QuerySet) -> AttentionRecord:
    """The rows ``queries.index (B, Q)`` of a record, as a record with a query grid of one row.

    The losses of a step ask for the same rows: they share them, and what one found out about them
    (the logsumexp, say) is known to the next.
    """
    with_grad = torch.is_grad_enabled()
    kept = _views.setdefault(record, [])
    for known, known_grad, view in kept:
        if known_grad == with_grad and known.same_index(queries):
            return view
    rows = _Rows.apply(record.query, queries.index)
    view = _like(record, query=rows, query_grid=(1, queries.index.shape[1]))
    kept.append((queries, with_grad, view))
    return view


class _Rows(torch.autograd.Function):
    """``query (B, H, N, D)`` at ``index (B, Q)``: a gather that any number of backwards may pass.

    Autograd's own frees its index after the first, but losses that share rows stay separate.
    """

    @staticmethod
    def forward(ctx, query: Tensor, index: Tensor) -> Tensor:
        B, H, N, D = query.shape
        ctx.places, ctx.tokens = index[:, None, :, None].expand(B, H, index.shape[1], D), N
        return query.gather(2, ctx.places)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        B, H, _, D = grad.shape
        return grad.new_zeros(B, H, ctx.tokens, D).scatter_add_(2, ctx.places, grad), None


def known_garment_mass(record: AttentionRecord) -> Tensor:
    """``record.garment_mass()`` without gradient (B, H, Nq), computed once for a record."""
    if record not in _masses:
        _masses[record] = record.garment_mass().detach()
    return _masses[record]


def log_mass(record: AttentionRecord, other_key: Tensor | None, temperature: float = 1.0) -> Tensor:
    """log of the share of a softmax over garment keys and ``other_key`` that the garment has.

    Finite however small the share is, so that heads can be weighed by it. ``other_key`` is
    (B, H, N, D) or (H, N, D); None or no keys leave the garment everything. Returns (B, H, Nq).
    """
    garment = record.logsumexp(temperature)
    if other_key is None or other_key.shape[-2] == 0:
        return torch.zeros_like(garment)
    mask = record.context_mask if other_key is record.context_key else None
    other_key = other_key.expand(len(record.query), *other_key.shape[-3:])
    other = _like(
        record,
        key=other_key,
        key_grid=(1, other_key.shape[2]),
        key_mask=mask,
        context_key=None,
        context_mask=None,
    )
    return F.logsigmoid(garment - other.logsumexp(temperature))


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
