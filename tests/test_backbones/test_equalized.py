"""Equalised convolutions: sizes, the blur against numpy, scales against the written order."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vtonlab.backbones.equalized import (
    EqualConv2d,
    EqualLinear,
    Pyramid,
    ResidualDown,
    blur,
    leaky,
)

TAPS = np.array([1, 3, 3, 1]) / 8


def picture(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_blur_is_the_binomial_filter_with_zeros_around():
    x = picture(2, 3, 6, 5)
    wanted = np.zeros((2, 3, 7, 6))
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    for row in range(7):
        for column in range(6):
            window = padded[:, :, row : row + 4, column : column + 4]
            wanted[:, :, row, column] = np.einsum("bchw,h,w->bc", window, TAPS, TAPS)
    assert np.allclose(blur(x, 2).numpy(), wanted, atol=1e-12)
    assert torch.allclose(blur(x, 2, gain=4.0), 4 * blur(x, 2))


@pytest.mark.parametrize(
    ("scale", "kernel", "size"),
    [
        *((None, kernel, (8, 6)) for kernel in (1, 3)),
        *(("down", kernel, (4, 3)) for kernel in (1, 3)),
        ("up", 3, (16, 12)),
    ],
)
def test_sizes(scale, kernel, size):
    layer = EqualConv2d(3, 5, kernel, scale=scale).double()
    assert layer(picture(2, 3, 8, 6)).shape == (2, 5, *size)


def test_a_doubled_constant_stays_that_constant_inside():
    layer = EqualConv2d(1, 1, 3, scale="up", bias=False).double()
    with torch.no_grad():
        layer.weight.fill_(1 / layer.gain)
    inside = layer(torch.ones(1, 1, 8, 8).double())[..., 4:-4, 4:-4]
    assert torch.allclose(inside, torch.full_like(inside, 9.0))  # nine taps of weight one


def test_halving_is_blur_then_stride():
    layer, x = EqualConv2d(3, 4, 3, scale="down").double(), picture(1, 3, 8, 8)
    wanted = F.conv2d(blur(x, 2), layer.weight * layer.gain, layer.bias)[..., ::2, ::2]
    assert torch.allclose(layer(x), wanted)


@torch.no_grad()
def test_variance_is_kept_at_the_start():
    torch.manual_seed(0)
    x = torch.randn(16, 64, 16, 16)
    assert float(EqualConv2d(64, 64, 3)(x)[..., 2:-2, 2:-2].std()) == pytest.approx(1.0, abs=0.05)
    assert float(EqualLinear(64, 64)(x[..., 0, 0]).std()) == pytest.approx(1.0, abs=0.1)
    assert float(leaky(x).square().mean()) == pytest.approx(1.04, abs=0.03)


def test_residual_block_and_pyramid():
    block, x = ResidualDown(3, 5).double(), picture(2, 3, 8, 8)
    wanted = (leaky(block.second(leaky(block.first(x)))) + block.skip(x)) / 2**0.5
    assert torch.equal(block(x), wanted)
    features = Pyramid(3, (4, 5, 6)).double()(x)
    assert [tuple(f.shape) for f in features] == [(2, 4, 8, 8), (2, 5, 4, 4), (2, 6, 2, 2)]


def test_second_derivatives_exist():
    """R1 differentiates twice."""
    layer, x = ResidualDown(1, 2).double(), picture(1, 1, 4, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(layer, x)
