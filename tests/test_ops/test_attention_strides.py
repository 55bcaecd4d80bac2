"""The fused kernel is only given memory that it can read: any strides are right."""

import pytest
import torch

from vtonlab.ops.attention import attention_moments


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("queries", "keys", "size"), [(5, 2, 8), (4, 3, 4), (2, 1, 2), (8, 5, 8)])
def test_channels_that_are_not_adjacent(queries, keys, size, dtype):
    """Heads of one channel set side by side are a view whose channel stride is the token count."""
    generator = torch.Generator().manual_seed(0)

    def strided(tokens):
        heads = torch.randn(1, size, tokens, 1, generator=generator, dtype=dtype)
        return heads.transpose(-3, -2).flatten(-2).unsqueeze(-3).requires_grad_()

    query, key = strided(queries), strided(keys)
    assert query.stride(-1) != 1
    values = torch.randn(keys, size, generator=generator, dtype=dtype)
    wanted = (0.3 * query @ key.mT).softmax(-1) @ values
    gradient = torch.autograd.grad(wanted.square().sum(), (query, key))
    for attempt in range(10):  # what lies beyond the operands changes from call to call
        trash = [torch.full((n,), 1e4 * attempt, dtype=dtype) for n in (3, 7, 17, 64)]
        del trash
        found = attention_moments(query, key, 0.3, values=values).mean
        torch.testing.assert_close(found, wanted)
        again = torch.autograd.grad(found.square().sum(), (query, key))
        for a, b in zip(again, gradient, strict=True):
            torch.testing.assert_close(a, b)
