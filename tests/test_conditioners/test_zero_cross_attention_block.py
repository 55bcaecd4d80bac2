"""One block against METHODS.md 4.1 written out in plain tensor operations, in float64."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from small_unet import wake

from vtonlab.conditioners.zero_cross_attention_blocks import ZeroCrossAttentionBlock


def norm(x: Tensor, dims, eps: float) -> Tensor:
    mean = x.mean(dims, keepdim=True)
    return (x - mean) / ((x - mean).square().mean(dims, keepdim=True) + eps).sqrt()


def layer_norm(x: Tensor, p: dict, name: str) -> Tensor:
    return norm(x, -1, 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def attend(x: Tensor, context: Tensor, p: dict, name: str, heads: int) -> Tensor:
    """Softmax attention head by head, with a loop over samples, heads and queries."""
    q, k, v = (
        c @ p[f"{name}.{part}.weight"].T
        for c, part in ((x, "to_q"), (context, "to_k"), (context, "to_v"))
    )
    size = q.shape[-1] // heads
    out = torch.zeros_like(q)
    for b in range(len(q)):
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            for i in range(q.shape[1]):
                scores = k[b, :, part] @ q[b, i, part] / math.sqrt(size)
                weights = (scores - scores.max()).exp()
                out[b, i, part] = (weights / weights.sum()) @ v[b, :, part]
    return out @ p[f"{name}.to_out.0.weight"].T + p[f"{name}.to_out.0.bias"]


def geglu(x: Tensor, p: dict, name: str) -> Tensor:
    hidden = x @ p[f"{name}.net.0.proj.weight"].T + p[f"{name}.net.0.proj.bias"]
    value, gate = hidden.chunk(2, -1)
    gate = gate * (1 + torch.erf(gate / math.sqrt(2))) / 2
    return (value * gate) @ p[f"{name}.net.2.weight"].T + p[f"{name}.net.2.bias"]


def pointwise(x: Tensor, p: dict, name: str) -> Tensor:
    """1x1 convolution of (B, C, h, w)."""
    weight = p[f"{name}.weight"][:, :, 0, 0]
    return torch.einsum("oc,bchw->bohw", weight, x) + p[f"{name}.bias"][:, None, None]


def block_by_equations(h: Tensor, garment: Tensor, p: dict, heads: int, groups: int) -> Tensor:
    b, c, rows, columns = h.shape
    grouped = norm(h.reshape(b, groups, -1), -1, 1e-6).reshape(h.shape)
    x = grouped * p["transformer.norm.weight"][:, None, None]
    x = pointwise(x + p["transformer.norm.bias"][:, None, None], p, "transformer.proj_in")
    x = x.permute(0, 2, 3, 1).reshape(b, rows * columns, c)
    keys = garment.permute(0, 2, 3, 1).reshape(b, rows * columns, -1)  # not normed
    inner = "transformer.transformer_blocks.0"
    normed = layer_norm(x, p, f"{inner}.norm1")
    x = x + attend(normed, normed, p, f"{inner}.attn1", heads)
    x = x + attend(layer_norm(x, p, f"{inner}.norm2"), keys, p, f"{inner}.attn2", heads)
    x = x + geglu(layer_norm(x, p, f"{inner}.norm3"), p, f"{inner}.ff")
    x = x.reshape(b, rows, columns, c).permute(0, 3, 1, 2)
    return h + pointwise(h + pointwise(x, p, "transformer.proj_out"), p, "zero_conv")


@pytest.fixture
def block():
    torch.manual_seed(0)
    made = ZeroCrossAttentionBlock(query_dim=16, garment_dim=12, num_heads=4, groups=4).double()
    for parameter in made.parameters():  # norms start at one and zero: make them count
        parameter.data = torch.randn_like(parameter) * 0.5
    return made


def test_forward_equals_the_equations(block):
    h = torch.randn(2, 16, 4, 3, dtype=torch.float64)
    garment = torch.randn(2, 12, 4, 3, dtype=torch.float64)
    expected = block_by_equations(h, garment, block.state_dict(), heads=4, groups=4)
    torch.testing.assert_close(block(h, garment), expected, rtol=1e-10, atol=1e-10)


def test_withheld_samples_pass_unchanged(block):
    h = torch.randn(2, 16, 4, 3, dtype=torch.float64)
    garment = torch.randn(2, 12, 4, 3, dtype=torch.float64)
    found = block(h, garment, torch.tensor([True, False]))
    assert torch.equal(found[1], h[1])
    torch.testing.assert_close(found[0], block(h, garment)[0])


def test_two_zeros_then_gradients_wake_from_the_outside():
    """The outer convolution learns first, the inner one at the second step, attention after it."""
    torch.manual_seed(0)
    block = ZeroCrossAttentionBlock(query_dim=16, garment_dim=12, num_heads=4, groups=4)
    h, garment = torch.randn(1, 16, 4, 3), torch.randn(1, 12, 4, 3)
    assert torch.equal(block(h, garment), h)
    awake = []
    for _ in range(3):
        block.zero_grad()
        (block(h, garment) - 1).square().mean().backward()
        names = {n for n, p in block.named_parameters() if p.grad.abs().max() > 0}
        awake.append(names)
        with torch.no_grad():
            for parameter in block.parameters():
                parameter -= 0.1 * parameter.grad
    outer = {"zero_conv.weight", "zero_conv.bias"}
    inner = {"transformer.proj_out.weight", "transformer.proj_out.bias"}
    assert awake[0] == outer and awake[1] == outer | inner
    assert awake[2] == {n for n, _ in block.named_parameters()}


def test_wake_changes_zero_parameters_only(block):
    before = {name: p.clone() for name, p in block.named_parameters()}
    wake(block)
    assert all(torch.equal(p, before[name]) for name, p in block.named_parameters())
