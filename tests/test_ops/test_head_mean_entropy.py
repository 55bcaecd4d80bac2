"""The weighted entropy of head-averaged maps against its sum query by query."""

import pytest
import torch

from vtonlab.ops import attention_chunked
from vtonlab.ops.attention_backend import attention_backend
from vtonlab.ops.attention_chunked import head_mean_moments
from vtonlab.ops.head_mean_entropy import weighted_map_entropy


def tensors(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 7, 4), (2, 3, 5, 4))
    found = [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]
    weight = torch.rand(2, 7, generator=generator)
    weight[0, 2:4] = 0.0
    return [tensor.requires_grad_() for tensor in found], weight


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scale", [0.5, 40.0])
@pytest.mark.parametrize("rows", [2, 1 << 20])
def test_value_and_gradient_are_those_of_the_sum(monkeypatch, masked, scale, rows):
    monkeypatch.setitem(attention_chunked.CHUNK_ELEMENTS, "cpu", rows)
    (query, key), weight = tensors()
    bias = torch.tensor([[0.0, -1e9, 0.0, 0.5, 0.0]] * 2).double() if masked else None
    factor = torch.tensor([2.0, -3.0], dtype=torch.float64)
    found = weighted_map_entropy(query, key, scale, weight, bias)
    each = head_mean_moments(query, key, scale, entropy=True, bias=bias).entropy
    wanted = (each * weight).sum(1)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    ours, theirs = (torch.autograd.grad((v * factor).sum(), [query, key]) for v in (found, wanted))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_gradient_by_differences():
    (query, key), weight = tensors()
    assert torch.autograd.gradcheck(
        lambda q, k: weighted_map_entropy(q, k, 0.5, weight), (query, key)
    )


@pytest.mark.parametrize("backend", ["materialised", "chunked"])
def test_other_ways_agree(backend):
    (query, key), weight = tensors()
    wanted = weighted_map_entropy(query, key, 0.5, weight)
    with attention_backend(backend):
        found = weighted_map_entropy(query, key, 0.5, weight)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_without_gradient_and_in_half_precision():
    (query, key), weight = tensors(torch.bfloat16)
    wanted = weighted_map_entropy(query.detach().double(), key.detach().double(), 0.5, weight)
    with torch.no_grad():
        found = weighted_map_entropy(query, key, 0.5, weight)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
