"""Attention by chunks of queries: always right, on any device, dtype and size.

Two uses: the fallback of `vtonlab.ops.attention`, and statistics of the *head-averaged* map, which
no fused kernel knows. A chunk of the map is made, used and dropped; the backward makes it again.
Shape letters as in `vtonlab.ops.attention`; R rows, i.e. pairs of sample and query.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vtonlab.ops.attention_backend import choose_backend, forced_backend
from vtonlab.ops.attention_kernel_pass import kernel_head_mean
from vtonlab.ops.attention_mask import added
from vtonlab.ops.attention_precision import (
    at_full_precision,
    statistics_dtype,
    working_dtype,
)

# Elements of one chunk of the map: what stays in a CPU's cache, what fills a GPU.
CHUNK_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 26}

Rows = tuple[Tensor, Tensor]


class HeadMeanMoments(NamedTuple):
    """Statistics of the head-averaged map; `None` where not asked for."""

    mean: Tensor | None  # (B, Nq, C) or (R, C)
    entropy: Tensor | None  # (B, Nq) or (R,)


def chunked_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Output (B, H, Nq, C) and logsumexp (B, H, Nq) of attention, outside autograd."""
    output = query.new_empty(*query.shape[:3], value.shape[-1])
    logsumexp = query.new_empty(query.shape[:3])
    for rows in _chunks(query, key.shape[2], query.shape[0] * query.shape[1]):
        score = added((query[:, :, rows] * scale) @ key.mT, bias)  # (B, H, r, Nk)
        logsumexp[:, :, rows] = score.logsumexp(-1)
        output[:, :, rows] = score.softmax(-1) @ value
    return output, logsumexp


def chunked_attention_backward(
    grad_output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    delta: Tensor,
    scale: float,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to query, key and value.

    Args:
        delta: (B, H, Nq), subtracted from the gradient of every probability of a query:
            `(grad_output * output).sum(-1)` minus the gradient of the logsumexp.
    """
    grad_query, grad_key = torch.empty_like(query), torch.zeros_like(key)
    grad_value = value.new_zeros(value.shape)
    for rows in _chunks(query, key.shape[2], query.shape[0] * query.shape[1]):
        scaled, grad = query[:, :, rows] * scale, grad_output[:, :, rows]
        prob = added(scaled @ key.mT, bias).softmax(-1)  # (B, H, r, Nk)
        grad_value += prob.mT @ grad
        grad_score = (grad @ value.mT).sub_(delta[:, :, rows, None]).mul_(prob)
        grad_query[:, :, rows] = grad_score @ key * scale
        grad_key += grad_score.mT @ scaled
    return grad_query, grad_key, grad_value


def head_mean_moments(
    query: Tensor,
    key: Tensor,
    scale: float,
    values: Tensor | None = None,
    entropy: bool = False,
    rows: Rows | None = None,
    bias: Tensor | None = None,
) -> HeadMeanMoments:
    """Mean of values under, and entropy of, the head-averaged attention map.

    Args:
        query, key: (B, H, Nq, D), (B, H, Nk, D).
        scale: factor of the dot products.
        values: (Nk, C) or (B, Nk, C), or `None` for no mean.
        entropy: whether to return the entropy, in nats, never negative (CORAL's H_i).
        rows: `(batch_index, query_index)`, int64 (R,) each: only these queries are computed and
            returned, in that order. `None` for all.
        bias: (B, Nk), added to scores (`vtonlab.ops.attention_mask`); without gradient.

    Returns:
        `HeadMeanMoments` of shapes (R, ...) with `rows`, else (B, Nq, ...), in float32 (float64
        where an input is), differentiable once in query, key and values.
    """
    if choose_backend(query, key, values=values) == "kernels" and (rows is None or len(rows[0])):
        return _kernel_moments(query, key, scale, values, entropy, rows, bias)
    dtype, working = statistics_dtype(query, key), working_dtype(query, key, scale)
    if values is not None:
        values = values.to(device=query.device, dtype=working)
        values = values.expand(query.shape[0], *values.shape[-2:])
    with at_full_precision(query):
        query, key = query.to(working), key.to(working)
        how = _materialised_head_mean if forced_backend() == "materialised" else _HeadMean.apply
        bias = None if bias is None else bias.to(working)
        parts = how(query, key, values, scale, entropy, rows, bias)
    parts = [None if part is None else part.to(dtype) for part in parts]
    if rows is None:
        shape = (query.shape[0], query.shape[2])
        parts = [None if part is None else part.unflatten(0, shape) for part in parts]
    return HeadMeanMoments(*parts)


def _kernel_moments(query, key, scale, values, entropy, rows, bias) -> HeadMeanMoments:
    """`head_mean_moments` by kernels, which take as many queries of every sample."""
    if values is not None:
        values = values.to(device=query.device, dtype=torch.float32)
        values = values.expand(query.shape[0], *values.shape[-2:])
    if rows is None:
        return HeadMeanMoments(*kernel_head_mean(query, key, values, scale, entropy, bias))
    index, place = _rows_by_sample(rows, len(query))
    taken = index[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3])
    parts = kernel_head_mean(query.gather(2, taken), key, values, scale, entropy, bias)
    return HeadMeanMoments(*(None if p is None else p.flatten(0, 1)[place] for p in parts))


def _rows_by_sample(rows: Rows, batches: int) -> tuple[Tensor, Tensor]:
    """Rows (R,) as a padded list (B, Q) of each sample's queries, and their places in it, (R,)."""
    batch, query = rows
    if batches == 1:
        return query[None], torch.arange(len(query), device=query.device)
    counts = torch.bincount(batch, minlength=batches)
    longest = int(counts.max())
    order = torch.argsort(batch, stable=True)
    first = (counts.cumsum(0) - counts)[batch[order]]
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order), device=order.device) - first
    index = query.new_zeros(batches, longest)
    index[batch, position] = query
    return index, batch * longest + position


def attention_map(query: Tensor, key: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """(B, H, Nq, Nk): the whole map. Not linear in memory: for pictures and tests only."""
    dtype, working = statistics_dtype(query, key), working_dtype(query, key, scale)
    with at_full_precision(query):
        score = added((query.to(working) * scale) @ key.to(working).mT, bias)
        return score.softmax(-1).to(dtype)


@torch.no_grad()
def head_mean_map(
    query: Tensor,
    key: Tensor,
    scale: float,
    query_index: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """(B, R, Nk): the head-averaged map of some queries (int64 (R,)) or all; without gradient."""
    if query_index is not None:
        query = query[:, :, query_index]
    shape = (query.shape[0], query.shape[2], key.shape[2])
    result = torch.empty(shape, dtype=statistics_dtype(query, key), device=query.device)
    for place, average in _head_mean_chunks(query, key, scale, bias):
        result.view(-1, shape[2])[place] = average.to(result.dtype)
    return result


@torch.no_grad()
def head_mean_argmax(
    query: Tensor, key: Tensor, scale: float, bias: Tensor | None = None
) -> Tensor:
    """(B, Nq) int64: the key each query attends to most in the head-averaged map."""
    shape = (query.shape[0], query.shape[2])
    result = torch.empty(shape, dtype=torch.int64, device=query.device)
    for place, average in _head_mean_chunks(query, key, scale, bias):
        result.view(-1)[place] = average.argmax(-1)
    return result


def _head_mean_chunks(query, key, scale, bias) -> Iterator[tuple[slice, Tensor]]:
    """Places in the flat (B * Nq) queries and the head-averaged map (r, Nk) there."""
    working = working_dtype(query, key, scale)
    query, key = query.to(working), key.to(working)
    with at_full_precision(query):
        for batch, place, chosen in _pieces(query, key, None):
            yield place, _probabilities(query, key, batch, chosen, scale, bias)[0].mean(0)


def _materialised_head_mean(query, key, values, scale, entropy, rows, bias):
    average = added((query * scale) @ key.mT, bias).softmax(-1).mean(1)  # (B, Nq, Nk)
    mean = None if values is None else (average @ values).flatten(0, 1)
    ent = plain_entropy(average).flatten() if entropy else None
    if rows is None:
        return mean, ent
    flat = rows[0] * query.shape[2] + rows[1]
    return tuple(None if part is None else part[flat] for part in (mean, ent))


def plain_entropy(prob: Tensor) -> Tensor:
    """-sum p log p over the last axis under plain autograd, with a finite gradient at zero."""
    return -(prob * prob.clamp_min(torch.finfo(prob.dtype).tiny).log()).sum(-1)


class _HeadMean(torch.autograd.Function):
    """Head-averaged map m = mean_h p_h by chunks of rows: its entropy and means of values.

    Backward: dm_j = -g log m_j + g_mean . value_j (constants over j vanish in the softmax), then
    the gradient of the score of head h is p_h (dm - sum_j p_h dm) / H.
    """

    @staticmethod
    def forward(ctx, query, key, values, scale, entropy, rows, bias):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(query, key, values, bias)
        ctx.scale, ctx.rows = scale, rows
        count = query.shape[0] * query.shape[2] if rows is None else rows[0].numel()
        ent = query.new_zeros(count) if entropy else None
        mean = None if values is None else query.new_zeros(count, values.shape[-1])
        for batch, place, chosen in _pieces(query, key, rows):
            prob = _probabilities(query, key, batch, chosen, scale, bias)[0]
            average = prob.mean(0)  # (r, Nk)
            if values is not None:
                mean[place] = average @ values[batch]
            if entropy:
                ent[place] = -(average * _safe_log(average)).sum(-1)
        return mean, ent

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean, grad_entropy):
        query, key, values, bias = ctx.saved_tensors
        grad_query, grad_key = torch.zeros_like(query), torch.zeros_like(key)
        grad_values = None if values is None else values.new_zeros(values.shape)
        with at_full_precision(query):
            for batch, place, chosen in _pieces(query, key, ctx.rows):
                prob, scaled = _probabilities(query, key, batch, chosen, ctx.scale, bias)
                average = prob.mean(0)  # (r, Nk)
                grad_average = 0.0
                if grad_mean is not None:
                    grad_average = grad_mean[place] @ values[batch].mT
                    grad_values[batch] += average.mT @ grad_mean[place]
                if grad_entropy is not None:
                    logs = _safe_log(average)
                    grad_average = grad_average - grad_entropy[place, None] * logs
                grad_score = prob * (grad_average / query.shape[1])  # (H, r, Nk)
                grad_score.addcmul_(prob, grad_score.sum(-1, keepdim=True), value=-1.0)
                grad_key[batch] += grad_score.mT @ scaled
                grad = grad_score @ key[batch] * ctx.scale
                if isinstance(chosen, slice):
                    grad_query[batch, :, chosen] = grad
                else:
                    grad_query[batch].index_add_(1, chosen, grad)
        return grad_query, grad_key, grad_values, None, None, None, None


def _probabilities(query, key, batch, chosen, scale, bias):
    """Map (H, r, Nk) of some queries of one sample, and those queries times scale (H, r, D)."""
    scaled = query[batch][:, chosen] * scale
    score = scaled @ key[batch].mT
    if bias is not None:
        score = score + bias[batch]
    return torch.softmax(score, dim=-1), scaled


def _safe_log(prob: Tensor) -> Tensor:
    """log of a map (r, Nk), finite at zero and exact at a peak that rounds to one.

    The logarithm of a dominant entry comes from the sum of all others, which does not cancel.
    """
    logs = prob.clamp_min(torch.finfo(prob.dtype).tiny).log_()
    at = prob.argmax(-1, keepdim=True)
    rest = prob.scatter(-1, at, 0.0).sum(-1, keepdim=True)
    peak_log = torch.where(rest < 0.5, torch.log1p(-rest.clamp_max(0.5)), logs.gather(-1, at))
    return logs.scatter_(-1, at, peak_log)


def _pieces(query, key, rows) -> Iterator[tuple[int, slice | Tensor, slice | Tensor]]:
    """(sample, places in the flat result, queries), a chunk of the map each."""
    batches, heads, queries = query.shape[:3]
    size = _chunk_rows(query, heads, key.shape[2])
    if rows is None:
        for batch in range(batches):
            for start in range(0, queries, size):
                stop = min(start + size, queries)
                place = slice(batch * queries + start, batch * queries + stop)
                yield batch, place, slice(start, stop)
        return
    order = torch.argsort(rows[0], stable=True)
    counts = torch.bincount(rows[0], minlength=batches).tolist()
    for batch, places in enumerate(order.split(counts)):
        for place in places.split(size) if places.numel() else ():
            yield batch, place, rows[1][place]


def _chunks(query, keys, maps) -> Iterator[slice]:
    size = _chunk_rows(query, maps, keys)
    for start in range(0, query.shape[2], size):
        yield slice(start, min(start + size, query.shape[2]))


def _chunk_rows(query, maps, keys) -> int:
    budget = CHUNK_ELEMENTS.get(query.device.type, CHUNK_ELEMENTS["cpu"])
    return max(8, math.ceil(budget / max(1, maps * keys)))
