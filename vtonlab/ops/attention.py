"""Statistics of attention maps, exact and differentiable, in memory linear in tokens.

`attention_moments` answers every question about single heads with one call of a fused kernel:
means of values under attention, logsumexp, and entropy. Shape letters: B batch, H heads, Nq and Nk
queries and keys, D head size, C value size, W padded width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vtonlab.ops.attention_backend import choose_backend
from vtonlab.ops.attention_chunked import (
    chunked_attention_backward,
    chunked_attention_forward,
    head_mean_moments,
)
from vtonlab.ops.attention_precision import (
    at_full_precision,
    statistics_dtype,
    working_dtype,
)
from vtonlab.utils.compat import (
    fused_attention_backward,
    fused_attention_forward,
)

# Entropies below this many rounding errors of their own terms are summed as -p log p.
SHARP_RATIO = {torch.float32: 2e4, torch.float64: 1e9}


class AttentionMoments(NamedTuple):
    """What one pass over an attention map tells; `None` where it was not asked for."""

    mean: Tensor | None  # (B, H, Nq, C)
    logsumexp: Tensor  # (B, H, Nq)
    entropy: Tensor | None  # (B, H, Nq)


def attention_moments(
    query: Tensor,
    key: Tensor,
    scale: float,
    values: Tensor | None = None,
    entropy: bool = False,
    backend: str | None = None,
) -> AttentionMoments:
    """Mean of values, logsumexp and entropy of `softmax(scale * query @ key.T)`, in one pass.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, Nk, D).
        scale: factor of the dot products (divide it by a temperature to soften the map).
        values: (Nk, C) or (B, Nk, C), shared by the heads; `None` for no mean.
        entropy: whether to return the entropy, in nats and never negative.
        backend: one of `BACKENDS`; `None` takes what the context `attention_backend` set.

    Returns:
        `AttentionMoments` in float32 (float64 where an input is float64), differentiable once
        in query, key and values.

    Raises:
        ValueError: if shapes disagree, or the forced backend cannot take the tensors.
    """
    with at_full_precision(query):
        dtype = statistics_dtype(query, key)
        working = working_dtype(query, key, scale)
        query, key = query.to(working), key.to(working)
        values = _batched_values(values, query, key)
        name = choose_backend(query, key, backend)
        if name == "materialised":
            parts = _materialised_moments(query, key, values, scale, entropy)
        else:
            mean, logsumexp, raw, sharp = _Moments.apply(query, key, values, scale, entropy, name)
            if entropy:
                raw = _replace_sharp(raw, sharp, query, key, scale)
            parts = (mean, logsumexp, raw)
    return AttentionMoments(*(None if part is None else part.to(dtype) for part in parts))


def attention_mean(
    query: Tensor, key: Tensor, values: Tensor, scale: float, backend: str | None = None
) -> Tensor:
    """(B, H, Nq, C): mean of `values` under attention; see `attention_moments`."""
    return attention_moments(query, key, scale, values=values, backend=backend).mean


def attention_logsumexp(
    query: Tensor, key: Tensor, scale: float, backend: str | None = None
) -> Tensor:
    """(B, H, Nq): log of the softmax's denominator; see `attention_moments`."""
    return attention_moments(query, key, scale, backend=backend).logsumexp


def attention_entropy(
    query: Tensor, key: Tensor, scale: float, backend: str | None = None
) -> Tensor:
    """(B, H, Nq): entropy of each query's attention, in nats; see `attention_moments`."""
    return attention_moments(query, key, scale, entropy=True, backend=backend).entropy


def attention_log_prob(
    query: Tensor,
    key: Tensor,
    scale: float,
    logsumexp: Tensor,
    batch_index: Tensor,
    query_index: Tensor,
    key_index: Tensor,
) -> Tensor:
    """(M, H): log attention at M places `(batch_index, query_index, key_index)`, int64 (M,) each.

    Args:
        logsumexp: (B, H, Nq), as `attention_logsumexp` gives it for the same query, key and scale.
    """
    with at_full_precision(query):
        dtype, working = statistics_dtype(query, key), working_dtype(query, key, scale)
        at_query = batch_index * query.shape[2] + query_index
        at_key = batch_index * key.shape[2] + key_index
        q = _token_rows(query.to(working)).index_select(0, at_query)  # (M, H, D)
        k = _token_rows(key.to(working)).index_select(0, at_key)  # (M, H, D)
        lse = _token_rows(logsumexp[..., None]).index_select(0, at_query)[..., 0]  # (M, H)
        return (scale * (q * k).sum(-1) - lse).to(dtype)


def attention_share(logsumexp: Tensor, other_logsumexp: Tensor | None) -> Tensor:
    """Share of a softmax that falls on one group of keys, from logsumexps of both groups.

    Args:
        logsumexp: of the group asked for, any shape.
        other_logsumexp: of all other keys, same shape; `None` where there are none.
    """
    if other_logsumexp is None:
        return torch.ones_like(logsumexp)
    # exp(logsigmoid) where sigmoid would do: its gradient stays right where the share nears one.
    return F.logsigmoid(logsumexp - other_logsumexp).exp()


def _materialised_moments(query, key, values, scale, entropy):
    score = (query * scale) @ key.mT
    prob = score.softmax(-1)
    mean = None if values is None else prob @ values[:, None]
    return mean, score.logsumexp(-1), torch.special.entr(prob).sum(-1) if entropy else None


class _Moments(torch.autograd.Function):
    """(mean, logsumexp, entropy before sharp queries are replaced, which queries are sharp).

    With values [key, values] one attention gives the mean key and the mean value, and
    H = logsumexp - scale * query . mean key. Its gradient needs no derivative of the logsumexp:
    since probabilities sum to one, dH = -sum_j dp_j (score_j), the gradient of attention with the
    keys as constant values and an output gradient of -scale * query. A gradient g of the
    logsumexp adds g p_j to that of score j, which is `delta - g` in place of `delta`.
    """

    @staticmethod
    def forward(ctx, query, key, values, scale, entropy, backend):
        ctx.set_materialize_grads(False)
        value = _stack_values(key, values, entropy or values is None)  # (B, H, Nk, C')
        if backend == "fused":
            width = _fused_width(query, value.shape[-1])
            output, logsumexp, extra = fused_attention_forward(
                _pad(query, width), _pad(key, width), _pad(value, width), scale
            )
            output = output[..., : value.shape[-1]]
        else:
            output, logsumexp = chunked_attention_forward(query, key, value, scale)
            extra = ()
        logsumexp = logsumexp.contiguous()
        ctx.scale, ctx.entropy, ctx.backend = scale, entropy, backend
        ctx.save_for_backward(query, key, values, output, logsumexp, *extra)
        raw = sharp = None
        if entropy:
            raw, sharp = _entropy_from_mean(query, output[..., : key.shape[-1]], logsumexp, scale)
            ctx.mark_non_differentiable(sharp)
        mean = None if values is None else output[..., output.shape[-1] - values.shape[-1] :]
        return mean, logsumexp, raw, sharp

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean, grad_logsumexp, grad_entropy, _):
        query, key, values, output, logsumexp, *extra = ctx.saved_tensors
        head_size = key.shape[-1]
        has_key_part = ctx.entropy or values is None
        value = _stack_values(key, values, has_key_part)
        parts = []
        if has_key_part and grad_entropy is not None:
            parts.append(query * (-ctx.scale * grad_entropy)[..., None])
        elif has_key_part:
            parts.append(torch.zeros_like(query))
        if values is not None:
            parts.append(
                query.new_zeros(*query.shape[:3], values.shape[-1])
                if grad_mean is None
                else grad_mean
            )
        grad_output = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        with at_full_precision(query):
            backward = _fused_backward if ctx.backend == "fused" else _chunked_backward
            grad_query, grad_key, grad_value = backward(
                grad_output, grad_logsumexp, query, key, value, output, logsumexp, extra, ctx.scale
            )
        grad_values = None
        if values is not None:
            start = head_size if has_key_part else 0
            grad_values = grad_value[..., start : start + values.shape[-1]].sum(1)
        return grad_query, grad_key, grad_values, None, None, None


def _fused_backward(
    grad_output, grad_logsumexp, query, key, value, output, logsumexp, extra, scale
):
    """Backward of the kernel, the gradient of the logsumexp entering through one more column.

    The kernel uses `output` for delta = (grad_output * output).sum(-1) alone, and `value` for
    grad_output @ value.T: a column with value 0, grad_output 1 and output -g makes it delta - g.
    """
    size, used = query.shape[-1], value.shape[-1]
    width = _fused_width(query, used + (grad_logsumexp is not None))
    grad_output, output = _pad(grad_output, width), _pad(output, width)
    if grad_logsumexp is not None:
        grad_output = grad_output.clone() if used < width else grad_output
        output = output.clone()
        grad_output[..., used] = 1.0
        output[..., used] = -grad_logsumexp
    grads = fused_attention_backward(
        grad_output, _pad(query, width), _pad(key, width), _pad(value, width),
        output, logsumexp, extra, scale,
    )  # fmt: skip
    return grads[0][..., :size], grads[1][..., :size], grads[2]


def _chunked_backward(
    grad_output, grad_logsumexp, query, key, value, output, logsumexp, extra, scale
):
    delta = (grad_output * output).sum(-1)
    if grad_logsumexp is not None:
        delta = delta - grad_logsumexp
    return chunked_attention_backward(grad_output, query, key, value, delta, scale)


def _entropy_from_mean(query, mean_key, logsumexp, scale):
    """Entropy (B, H, Nq) by cancellation, and the queries where too little of it is left."""
    products = query * mean_key
    raw = logsumexp - scale * products.sum(-1)
    size = logsumexp.abs() + abs(scale) * products.abs_().sum(-1)
    limit = SHARP_RATIO[raw.dtype] * torch.finfo(raw.dtype).eps
    sharp = ~(raw > limit * size)
    return raw, sharp


def _replace_sharp(entropy, sharp, query, key, scale):
    """Put -sum p log p where `sharp` says so; both branches stay differentiable."""
    rows = sharp.flatten(0, 1).nonzero(as_tuple=True)  # each (b, h) is one sample of one head
    if rows[0].numel() == 0:
        return entropy
    exact = head_mean_moments(
        query.flatten(0, 1)[:, None], key.flatten(0, 1)[:, None], scale, entropy=True, rows=rows
    ).entropy
    flat = entropy.masked_fill(sharp, 0.0).flatten(0, 1)
    return flat.index_put(rows, exact).view_as(entropy)


def _stack_values(key, values, with_key):
    if values is None:
        return key
    shared = values[:, None].expand(-1, key.shape[1], -1, -1)  # (B, H, Nk, C)
    return torch.cat([key, shared], dim=-1) if with_key else shared


def _fused_width(query: Tensor, columns: int) -> int:
    """Width all operands are padded to: kernels are fast at multiples of eight."""
    width = max(query.shape[-1], columns)
    if query.device.type == "cpu" and width == query.shape[-1]:
        return width
    return (width + 7) // 8 * 8


def _pad(tensor: Tensor, width: int) -> Tensor:
    if tensor.shape[-1] < width:
        return F.pad(tensor, (0, width - tensor.shape[-1]))
    # torch 2.15's CPU kernel reads past its output where a channel stride is not one
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _token_rows(tensor: Tensor) -> Tensor:
    """(B, H, N, D) as (B * N, H, D)."""
    return tensor.transpose(1, 2).flatten(0, 1)


def _batched_values(values: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    if values is None:
        return None
    wanted = (key.shape[0], key.shape[2])
    batched = values.expand(wanted[0], *values.shape) if values.dim() == 2 else values
    if batched.dim() != 3 or batched.shape[:2] != wanted:
        raise ValueError(
            f"Values under attention must be (Nk, C) or (B, Nk, C) with B, Nk = {wanted}, "
            f"not {tuple(values.shape)}."
        )
    return batched.to(device=query.device, dtype=query.dtype)
