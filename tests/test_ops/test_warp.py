"""Warping by absolute flows, in float64 against NumPy."""

import numpy as np
import pytest
import torch

from vtonlab.ops.geometry import sample_bilinear
from vtonlab.ops.warp import dilate, identity_flow, on_white, resize_flow, sample_at, token_flow


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 7), (16, 12)])
def test_the_identity_returns_the_picture(size):
    picture = random(2, 3, *size)
    flow = identity_flow(size, picture).expand(2, *size, 2)
    torch.testing.assert_close(sample_at(picture, flow), picture, rtol=0, atol=1e-12)


def test_one_flow_serves_features_of_every_size():
    """A picture that is linear in place keeps its values, whatever its resolution."""
    flow = 0.3 + 0.4 * random(1, 6, 5, 2)
    for size in ((8, 8), (16, 12), (64, 48)):
        x = identity_flow(size, flow)[..., 0][None, None]
        torch.testing.assert_close(sample_at(x, flow)[0, 0], flow[0, ..., 0], rtol=0, atol=1e-12)


def test_against_opencv():
    picture, flow = random(1, 3, 9, 7), random(1, 6, 5, 2, seed=1) * 1.2 - 0.1
    expected = sample_bilinear(picture[0].permute(1, 2, 0).float().numpy(), flow[0].numpy())
    found = sample_at(picture, flow)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() < 0.02  # OpenCV's weights have 5 bits


def test_a_constant_offset_moves_whole_pixels():
    picture = random(1, 1, 6, 8)
    shift = torch.tensor([2 / 8, -1 / 6], dtype=torch.float64)  # looks 2 right, 1 up
    found = sample_at(picture, (identity_flow((6, 8), picture) + shift)[None])
    torch.testing.assert_close(found[..., 1:, :-2], picture[..., :-1, 2:])


def test_gradients_reach_picture_and_flow():
    picture, flow = random(1, 2, 4, 4), 0.2 + 0.5 * random(1, 3, 3, 2, seed=2)
    inputs = (picture.requires_grad_(), flow.requires_grad_())
    assert torch.autograd.gradcheck(sample_at, inputs)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_resizing_keeps_constant_offsets(mode):
    flow = (identity_flow((4, 3), random(1)) + torch.tensor([0.25, -0.125]).double())[None]
    found = resize_flow(flow, (16, 9), mode)
    expected = identity_flow((16, 9), flow) + torch.tensor([0.25, -0.125]).double()
    torch.testing.assert_close(found[0], expected)
    assert resize_flow(flow, (4, 3), mode) is flow


def test_tokens_of_the_identity_are_the_identity():
    index = torch.arange(12).expand(2, -1)
    flow = token_flow(index, (4, 3), (4, 3), random(1))
    torch.testing.assert_close(flow, identity_flow((4, 3), random(1)).expand(2, 4, 3, 2))


def test_tokens_of_another_grid():
    flow = token_flow(torch.tensor([[0, 5]]), (1, 2), (2, 3), random(1))
    expected = torch.tensor([[[[0.5 / 3, 0.25], [2.5 / 3, 0.75]]]]).double()
    torch.testing.assert_close(flow, expected)


def test_dilation_and_white():
    mask = torch.zeros(1, 1, 5, 5)
    mask[..., 2, 2] = 0.7
    assert (dilate(mask)[..., 1:4, 1:4] == mask.max()).all() and dilate(mask).sum() > 6.2
    picture = -torch.ones(1, 3, 5, 5)
    assert on_white(picture, mask)[0, 0, 2, 2] == pytest.approx(-0.4)
    assert on_white(picture, mask)[0, 0, 0, 0] == 1
