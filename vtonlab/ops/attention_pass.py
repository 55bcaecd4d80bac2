"""One pass of an attention kernel, asked for everything it knows.

Shape letters: B batch, H heads, Nq and Nk queries and keys, D head size, C value size, W the width
all operands of a fused kernel are padded to.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vtonlab.ops.attention_chunked import (
    chunked_attention_backward,
    chunked_attention_forward,
    head_mean_moments,
    plain_entropy,
)
from vtonlab.ops.attention_mask import added, graded_column
from vtonlab.ops.attention_precision import at_full_precision
from vtonlab.utils.compat import fused_attention_backward, fused_attention_forward

# Entropies below this many rounding errors of their own terms are summed as -p log p.
SHARP_RATIO = {torch.float32: 2e4, torch.float64: 1e9}


class RawMoments(NamedTuple):
    """What a pass returns; `None` where it was not asked for."""

    mean: Tensor | None  # (B, H, Nq, C)
    logsumexp: Tensor  # (B, H, Nq)
    entropy: Tensor | None  # (B, H, Nq), wrong where sharp
    sharp: Tensor | None  # (B, H, Nq) bool: queries whose entropy cancelled


def run_pass(
    query: Tensor,
    key: Tensor,
    values: Tensor | None,
    scale: float,
    entropy: bool,
    backend: str,
    bias: Tensor | None = None,
    graded: bool = False,
) -> RawMoments:
    """Statistics of `softmax(scale * query @ key.T)` by one call of a kernel.

    Args:
        query, key: (B, H, Nq, D), (B, H, Nk, D), both float32 or both float64.
        values: (B, Nk, C) of the same type, or `None`.
        entropy: whether the mean key, and so the entropy, is computed too. Without values it is.
        backend: "fused", "chunked" or "materialised".
        bias: (B, Nk), added to scores; finite, of the same type, without gradient.
        graded: whether `bias` does more than hide keys: the entropy then takes its mean too.

    One backward may follow another: the pass keeps what they need as long as its answers live, so
    that separate questions about one pass stay separate graphs to whoever asks them.
    """
    entropy = entropy or values is None
    if backend == "materialised":
        return _materialised(query, key, values, scale, entropy, bias)
    column = graded_column(bias)[..., None] if graded and entropy else None
    if column is not None:  # one more value, whose mean the entropy takes
        values = column if values is None else torch.cat([values, column], dim=2)
    raw = RawMoments(*_Pass.apply(query, key, values, scale, entropy, backend, bias, graded))
    if column is None:
        return raw
    return raw._replace(mean=raw.mean[..., :-1] if raw.mean.shape[-1] > 1 else None)


def replace_sharp(
    entropy: Tensor,
    sharp: Tensor,
    query: Tensor,
    key: Tensor,
    scale: float,
    bias: Tensor | None = None,
):
    """Entropy with -sum p log p where `sharp` says so; both branches stay differentiable."""
    rows = sharp.flatten(0, 1).nonzero(as_tuple=True)  # each (b, h) is one sample of one head
    if rows[0].numel() == 0:
        return entropy
    bias = None if bias is None else bias.repeat_interleave(query.shape[1], 0)
    flat = query.flatten(0, 1)[:, None], key.flatten(0, 1)[:, None]
    exact = head_mean_moments(*flat, scale, entropy=True, rows=rows, bias=bias).entropy
    flat = entropy.masked_fill(sharp, 0.0).flatten(0, 1)
    return flat.index_put(rows, exact).view_as(entropy)


def fused_width(query: Tensor, columns: int) -> int:
    """Width W for `columns` columns of values: kernels are fast at multiples of eight."""
    width = max(query.shape[-1], columns)
    if query.device.type == "cpu" and width == query.shape[-1]:
        return width
    return (width + 7) // 8 * 8


class _Pass(torch.autograd.Function):
    """With values [key, values] one attention gives the mean key and the mean value, and
    H = logsumexp - scale * query . mean key. Its gradient needs no derivative of the logsumexp:
    since probabilities sum to one, dH = -sum_j dp_j (score_j), the gradient of attention with the
    keys as constant values and an output gradient of -scale * query. A gradient g of the
    logsumexp adds g p_j to that of score j, which is `delta - g` in place of `delta`.

    A bias b that is added to scores enters the kernels as their mask. Where it is more than a
    hiding one (`graded`), it is the last of `values`, and H loses its mean, whose gradient is
    again that of attention with b as constant value and -1 as output gradient.
    """

    @staticmethod
    def forward(ctx, query, key, values, scale, entropy, backend, bias, graded):
        ctx.set_materialize_grads(False)
        fused = backend == "fused"
        columns = (key.shape[-1] if entropy else 0) + (0 if values is None else values.shape[-1])
        width = fused_width(query, columns) if fused else columns
        value = _value(key, values, entropy, width)  # (B, H, Nk, W)
        if fused:
            output, logsumexp, extra = fused_attention_forward(
                _pad(query, width), _pad(key, width), value, scale, bias
            )
        else:
            output, logsumexp = chunked_attention_forward(query, key, value, scale, bias)
            extra = ()
        logsumexp = logsumexp.contiguous()
        ctx.settings = scale, entropy, fused, graded
        kept = (query, key, values, output, logsumexp, bias)
        ctx.kept = [t if t is None else t.detach() for t in kept]
        ctx.versions = _versions(ctx.kept)
        ctx.extra = extra
        raw = sharp = mean = None
        if entropy:
            bias_mean = output[..., columns - 1] if graded else None
            mean_key = output[..., : key.shape[-1]]
            raw, sharp = _entropy_from_mean(query, mean_key, logsumexp, scale, bias_mean)
            ctx.mark_non_differentiable(sharp)
        if values is not None:
            mean = output[..., columns - values.shape[-1] : columns].clone()
        return mean, logsumexp, raw, sharp

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean, grad_logsumexp, grad_entropy, _):
        query, key, values, output, logsumexp, bias = ctx.kept
        if _versions(ctx.kept) != ctx.versions:
            raise RuntimeError("A query, key or value of an attention record was changed in place.")
        scale, entropy, fused, graded = ctx.settings
        start = key.shape[-1] if entropy else 0
        columns = start + (0 if values is None else values.shape[-1])
        width = columns
        if fused:
            width = fused_width(query, columns + (grad_logsumexp is not None))
        grad_output = query.new_zeros(*query.shape[:3], width)
        if grad_entropy is not None:
            torch.mul(query, (-scale * grad_entropy)[..., None], out=grad_output[..., :start])
        if grad_mean is not None:
            grad_output[..., start:columns] = grad_mean
        if grad_entropy is not None and graded:
            grad_output[..., columns - 1] -= grad_entropy
        backward = _fused_backward if fused else _chunked_backward
        with at_full_precision(query):
            grad_query, grad_key, grad_value = backward(
                grad_output, grad_logsumexp, query, key, _value(key, values, entropy, width),
                output, logsumexp, ctx.extra, scale, columns, bias,
            )  # fmt: skip
        grad_values = None if values is None else grad_value[..., start:columns].sum(1)
        return grad_query, grad_key, grad_values, *[None] * 5


def _fused_backward(
    grad_output, grad_logsumexp, query, key, value, output, logsumexp, extra, scale, columns, bias
):
    """Backward of the kernel, the gradient of the logsumexp entering through one more column.

    The kernel uses `output` for delta = (grad_output * output).sum(-1) alone, and `value` for
    grad_output @ value.T: a column with value 0, grad_output 1 and output -g makes it delta - g.
    """
    size, width = query.shape[-1], value.shape[-1]
    if grad_logsumexp is not None:
        grad_output[..., columns] = 1.0
        padded = output.new_zeros(*output.shape[:3], width)
        padded[..., :columns] = output[..., :columns]
        padded[..., columns] = -grad_logsumexp
        output = padded
    grads = fused_attention_backward(
        grad_output, _pad(query, width), _pad(key, width), value, output, logsumexp, extra, scale,
        bias,
    )  # fmt: skip
    return grads[0][..., :size], grads[1][..., :size], grads[2]


def _chunked_backward(
    grad_output, grad_logsumexp, query, key, value, output, logsumexp, extra, scale, columns, bias
):
    delta = (grad_output * output).sum(-1)
    if grad_logsumexp is not None:
        delta = delta - grad_logsumexp
    return chunked_attention_backward(grad_output, query, key, value, delta, scale, bias)


def _entropy_from_mean(query, mean_key, logsumexp, scale, bias_mean):
    """Entropy (B, H, Nq) by cancellation, and the queries where too little of it is left."""
    products = query * mean_key
    raw = logsumexp - scale * products.sum(-1)
    size = logsumexp.abs() + abs(scale) * products.abs_().sum(-1)
    if bias_mean is not None:
        raw, size = raw - bias_mean, size + bias_mean.abs()
    sharp = ~(raw > SHARP_RATIO[raw.dtype] * torch.finfo(raw.dtype).eps * size)
    return raw, sharp


def _materialised(query, key, values, scale, entropy, bias):
    score = added((query * scale) @ key.mT, bias)
    prob = score.softmax(-1)
    mean = None if values is None else prob @ values[:, None]
    raw = plain_entropy(prob) if entropy else None
    return RawMoments(mean, score.logsumexp(-1), raw, None)


def _value(key: Tensor, values: Tensor | None, with_key: bool, width: int) -> Tensor:
    """(B, H, Nk, W): keys where `with_key`, then values, then zeros."""
    if values is None and width == key.shape[-1]:
        return _pad(key, width)
    start = key.shape[-1] if with_key else 0
    shape = (*key.shape[:3], width) if with_key else (key.shape[0], 1, key.shape[2], width)
    value = key.new_zeros(shape)
    if with_key:
        value[..., :start] = key
    if values is not None:
        value[..., start : start + values.shape[-1]] = values[:, None]
    return value.expand(-1, key.shape[1], -1, -1)


def _versions(tensors):
    return [None if t is None or t.is_inference() else t._version for t in tensors]


def _pad(tensor: Tensor, width: int) -> Tensor:
    size = tensor.shape[-1]
    if size < width:
        return torch.nn.functional.pad(tensor, (0, width - size))
    # torch 2.15's CPU kernel reads beyond its operands where a channel stride is not one.
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
