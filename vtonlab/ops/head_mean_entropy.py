"""Entropy of the head-averaged map as one weighted sum per sample: its gradient in the same pass.

The weights of a loss's mean are known before the entropies are, so a chunk of the map that the
entropy is read from gives its gradient too, but for one factor of each sample. Each chunk is made
once in a training step, not twice (`vtonlab.ops.attention_chunked` makes it again). Shape letters
as there.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vtonlab.ops.attention_backend import choose_backend
from vtonlab.ops.attention_chunked import _pieces, _probabilities, _safe_log, head_mean_moments
from vtonlab.ops.attention_precision import at_full_precision, statistics_dtype, working_dtype

BY_CHUNKS = ("fused", "chunked")  # backends that have no kernel for the head-averaged map


def weighted_map_entropy(
    query: Tensor, key: Tensor, scale: float, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """(B,): sum over queries of ``weight`` times the entropy of the head-averaged map, in nats.

    Args:
        query, key: (B, H, Nq, D), (B, H, Nk, D).
        scale: factor of the dot products.
        weight: (B, Nq), without gradient.
        bias: (B, Nk), added to scores; without gradient.

    Returns:
        float32 (float64 where an input is), differentiable once in query and key.
    """
    if choose_backend(query, key) not in BY_CHUNKS:
        found = head_mean_moments(query, key, scale, entropy=True, bias=bias).entropy
        return (found * weight.to(found)).sum(1)
    dtype, working = statistics_dtype(query, key), working_dtype(query, key, scale)
    with at_full_precision(query):
        query, key, weight = (tensor.to(working) for tensor in (query, key, weight))
        bias = None if bias is None else bias.to(working)
        return _WeightedEntropy.apply(query, key, scale, weight, bias).to(dtype)


class _WeightedEntropy(torch.autograd.Function):
    """With m = mean_h p_h and H = -sum_j m_j log m_j, the gradient of w H in the score of head h is
    p_h (dm - sum_j p_h dm), dm = -w log m / heads (constants over j vanish in the softmax).
    """

    @staticmethod
    def forward(ctx, query, key, scale, weight, bias):
        with_grad = any(ctx.needs_input_grad)
        grads = (torch.empty_like(query), torch.zeros_like(key)) if with_grad else ()
        total = query.new_zeros(len(query))
        for batch, _, rows in _pieces(query, key, None):
            prob, scaled = _probabilities(query, key, batch, rows, scale, bias)  # (H, r, Nk)
            average = prob.mean(0)  # (r, Nk)
            logs, w = _safe_log(average), weight[batch, rows]  # (r, Nk), (r,)
            total[batch] -= (average.mul_(logs).sum(-1) * w).sum()
            if not with_grad:
                continue
            slope = logs.mul_(w[:, None] / -query.shape[1])
            grad_score = prob * slope
            grad_score.addcmul_(prob, grad_score.sum(-1, keepdim=True), value=-1.0)
            grads[0][batch, :, rows] = torch.bmm(grad_score, key[batch]).mul_(scale)
            grads[1][batch].baddbmm_(grad_score.mT, scaled)
        ctx.save_for_backward(*grads)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        factor = grad[:, None, None, None]
        grad_query, grad_key = (each * factor for each in ctx.saved_tensors)
        return grad_query, grad_key, None, None, None
