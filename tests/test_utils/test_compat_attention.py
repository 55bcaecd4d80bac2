"""The private operators of torch are what `vtonlab.utils.compat` was written for."""

import pytest
import torch

from vtonlab.utils.compat import (
    FUSED_ATTENTION_SCHEMAS,
    fused_attention_backward,
    fused_attention_forward,
    fused_attention_refusal,
)


@pytest.mark.parametrize("name", sorted(FUSED_ATTENTION_SCHEMAS))
def test_private_operators_keep_their_signature(name):
    assert str(getattr(torch.ops.aten, name).default._schema) == FUSED_ATTENTION_SCHEMAS[name]


def devices():
    gpu = pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    )
    return ["cpu", gpu]


@pytest.mark.parametrize("device", devices())
def test_fused_attention_is_attention(device):
    query, key, value = (torch.randn(2, 3, n, 8, device=device) for n in (37, 50, 50))
    output, logsumexp, extra = fused_attention_forward(query, key, value, 0.3)
    leaves = [t.double().requires_grad_() for t in (query, key, value)]
    score = 0.3 * leaves[0] @ leaves[1].mT
    want = score.softmax(-1) @ leaves[2]
    assert torch.allclose(output.double(), want, atol=1e-5)
    assert torch.allclose(logsumexp.double(), score.logsumexp(-1), atol=1e-5)
    upstream = torch.randn_like(output)
    grads = fused_attention_backward(upstream, query, key, value, output, logsumexp, extra, 0.3)
    references = torch.autograd.grad(want, leaves, upstream.double())
    for got, reference in zip(grads, references, strict=True):
        assert torch.allclose(got.double(), reference, atol=1e-4)


@pytest.mark.parametrize("device", devices())
def test_the_backward_uses_the_output_for_delta_alone(device):
    """`vtonlab.ops.attention` sends the gradient of the logsumexp through one more column."""
    query, key = (torch.randn(1, 2, n, 8, device=device) for n in (33, 41))
    value = torch.zeros_like(key)
    output, logsumexp, extra = fused_attention_forward(query, key, value, 0.5)
    grad = torch.randn_like(logsumexp)
    upstream, column = torch.zeros_like(output), torch.zeros_like(output)
    upstream[..., 0], column[..., 0] = 1.0, -grad
    got = fused_attention_backward(upstream, query, key, value, column, logsumexp, extra, 0.5)
    leaves = [t.double().requires_grad_() for t in (query, key)]
    wanted = torch.autograd.grad(
        (0.5 * leaves[0] @ leaves[1].mT).logsumexp(-1), leaves, grad.double()
    )
    for one, reference in zip(got, wanted, strict=False):
        assert torch.allclose(one.double(), reference, atol=1e-4)


def test_what_the_kernel_cannot_take_is_said():
    query = torch.zeros(1, 1, 4, 8)
    assert fused_attention_refusal(query, query) is None
    assert "float16" in fused_attention_refusal(query.half(), query.half())
    assert "empty" in fused_attention_refusal(query[:, :, :0], query)
    assert "meta" in fused_attention_refusal(query.to("meta"), query.to("meta"))
