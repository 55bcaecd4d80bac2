"""Statistics of attention maps, exact and differentiable, in memory linear in tokens.

Shape letters: B batch, H heads, Nq and Nk queries and keys, D head size, C value size, M places.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vtonlab.ops.attention_backend import choose_backend
from vtonlab.ops.attention_kernel_pass import kernel_pass
from vtonlab.ops.attention_pass import RawMoments, fused_width, replace_sharp, run_pass
from vtonlab.ops.attention_precision import at_full_precision, statistics_dtype, working_dtype


class AttentionMoments(NamedTuple):
    """What one pass over an attention map tells; `None` where it was not asked for."""

    mean: Tensor | None  # (B, H, Nq, C)
    logsumexp: Tensor  # (B, H, Nq)
    entropy: Tensor | None  # (B, H, Nq)


class AttentionPass:
    """One kernel call over `softmax(scale * query @ key.T)`, whose answers are taken when needed.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, Nk, D).
        scale: factor of the dot products (divide it by a temperature to soften the map).
        values: (Nk, C) or (B, Nk, C), shared by the heads; `None` for no mean.
        entropy: whether `entropy` can be asked for; without values it always can.
        backend: one of `BACKENDS`; `None` takes what the context `attention_backend` set.
        bias: (B, Nk), added to scores (`vtonlab.ops.attention_mask`); without gradient.
        graded: whether `bias` does more than hide keys.

    Attributes:
        mean: (B, H, Nq, C), mean of values under attention, or `None`.
        logsumexp: (B, H, Nq).
        has_entropy: whether `entropy` can be asked for.

    All answers are float32 (float64 where an input is), differentiable once in query, key and
    values.

    Raises:
        ValueError: if shapes disagree, or the forced backend cannot take the tensors.
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        scale: float,
        values: Tensor | None = None,
        entropy: bool = False,
        backend: str | None = None,
        bias: Tensor | None = None,
        graded: bool = False,
    ) -> None:
        self._dtype = statistics_dtype(query, key)
        self._sharp = query, key, scale, bias
        chosen = choose_backend(query, key, backend, values)
        if chosen == "kernels":
            values = _batched_values(values, query, key, torch.float32)
            self._raw = RawMoments(*kernel_pass(query, key, values, scale, entropy, bias), None)
        else:
            working = working_dtype(query, key, scale)
            query, key = query.to(working), key.to(working)
            values = _batched_values(values, query, key, working)
            bias = None if bias is None else bias.to(working)
            self._sharp = query, key, scale, bias
            with at_full_precision(query):
                self._raw = run_pass(query, key, values, scale, entropy, chosen, bias, graded)
        self.mean = None if values is None else self._raw.mean.to(self._dtype)
        self.logsumexp = self._raw.logsumexp.to(self._dtype)
        self.has_entropy = self._raw.entropy is not None

    @property
    def entropy(self) -> Tensor:
        """(B, H, Nq), nats, never negative; sharp queries are summed anew, as -p log p."""
        entropy, sharp = self._raw.entropy, self._raw.sharp
        if sharp is not None:
            entropy = replace_sharp(entropy, sharp, *self._sharp)
        return entropy.to(self._dtype)


def attention_moments(
    query: Tensor,
    key: Tensor,
    scale: float,
    values: Tensor | None = None,
    entropy: bool = False,
    backend: str | None = None,
) -> AttentionMoments:
    """Mean of values, logsumexp and entropy in one pass; arguments of `AttentionPass`."""
    found = AttentionPass(query, key, scale, values, entropy, backend)
    return AttentionMoments(found.mean, found.logsumexp, found.entropy if entropy else None)


def attention_mean(
    query: Tensor, key: Tensor, values: Tensor, scale: float, backend: str | None = None
) -> Tensor:
    """(B, H, Nq, C): mean of `values` under attention; see `AttentionPass`."""
    return attention_moments(query, key, scale, values=values, backend=backend).mean


def attention_logsumexp(
    query: Tensor,
    key: Tensor,
    scale: float,
    backend: str | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """(B, H, Nq): log of the softmax's denominator; see `AttentionPass`."""
    return AttentionPass(query, key, scale, backend=backend, bias=bias).logsumexp


def attention_entropy(
    query: Tensor, key: Tensor, scale: float, backend: str | None = None
) -> Tensor:
    """(B, H, Nq): entropy of each query's attention, in nats; see `AttentionPass`."""
    return attention_moments(query, key, scale, entropy=True, backend=backend).entropy


def attention_log_prob(
    query: Tensor,
    key: Tensor,
    scale: float,
    logsumexp: Tensor,
    batch_index: Tensor,
    query_index: Tensor,
    key_index: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """(M, H): log attention at M places `(batch_index, query_index, key_index)`, int64 (M,) each.

    Args:
        logsumexp: (B, H, Nq), as `attention_logsumexp` gives it for the same query, key and scale.
    """
    with at_full_precision(query):
        dtype, working = statistics_dtype(query, key), working_dtype(query, key, scale)
        places = batch_index, query_index, key_index
        score = _ScoreAt.apply(query, key, scale, working, *places)
        if bias is not None:
            score = score + bias.to(score)[batch_index, key_index, None]
        at_query = batch_index * query.shape[2] + query_index
        lse = logsumexp.transpose(1, 2).flatten(0, 1).index_select(0, at_query)  # (M, H)
        return (score - lse).to(dtype)


class _ScoreAt(torch.autograd.Function):
    """Scores (M, H) of M places in `working`; only the rows that are read are ever raised to it."""

    @staticmethod
    def forward(ctx, query, key, scale, working, batch_index, query_index, key_index):
        ctx.save_for_backward(query, key, batch_index, query_index, key_index)
        ctx.scale, ctx.working = scale, working
        q = query[batch_index, :, query_index].to(working)  # (M, H, D)
        return scale * (q * key[batch_index, :, key_index].to(working)).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        query, key, batch, *places = ctx.saved_tensors
        grad = (ctx.scale * grad)[..., None]
        grads = []
        for wanted, mine, other in ((0, query, key), (1, key, query)):
            if not ctx.needs_input_grad[wanted]:
                grads.append(None)
                continue
            rows = grad * other[batch, :, places[1 - wanted]].to(ctx.working)
            sums = rows.new_zeros(len(mine), mine.shape[2], mine.shape[1], mine.shape[3])
            at = batch * mine.shape[2] + places[wanted]
            sums.flatten(0, 1).index_add_(0, at, rows)
            grads.append(sums.transpose(1, 2).to(mine.dtype))
        return *grads, *[None] * 5


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


def entropy_is_cheap(query: Tensor, channels: int) -> bool:
    """Whether a pass with `channels` values gives the entropy for at most a quarter more work."""
    if choose_backend(query, query) == "kernels":
        return True
    size = query.shape[-1]
    return fused_width(query, size + channels) <= 1.25 * size


def _batched_values(
    values: Tensor | None, query: Tensor, key: Tensor, dtype: torch.dtype
) -> Tensor | None:
    if values is None:
        return None
    wanted = (key.shape[0], key.shape[2])
    batched = values.expand(wanted[0], *values.shape) if values.dim() == 2 else values
    if batched.dim() != 3 or batched.shape[:2] != wanted:
        raise ValueError(
            f"Values under attention must be (Nk, C) or (B, Nk, C) with B, Nk = {wanted}, "
            f"not {tuple(values.shape)}."
        )
    return batched.to(device=query.device, dtype=dtype)
