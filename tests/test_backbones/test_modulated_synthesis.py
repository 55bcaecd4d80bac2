"""Synthesis with style maps: the written formula, sizes, and what reaches the picture."""

import pytest
import torch
from torch.nn import functional as F

from vtonlab.backbones.appearance_towers import AppearanceTowers, warp_features
from vtonlab.backbones.equalized import leaky
from vtonlab.backbones.modulated_synthesis import (
    ModulatedSynthesis,
    SpatialStyleGenerator,
    StyledConv,
    StyledRGB,
    modulate,
)
from vtonlab.ops.warp import identity_flow

SIZE = (16, 8)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def generator() -> SpatialStyleGenerator:
    torch.manual_seed(0)
    settings = dict(channels=(4, 6, 8), retained_channels=4, fused_channels=6, style_hidden=4)
    return SpatialStyleGenerator(**settings).double()


def inputs(network: SpatialStyleGenerator, batch: int = 2) -> dict:
    mask = torch.zeros(batch, 1, *SIZE, dtype=torch.float64)
    mask[:, :, 4:12, 2:6] = 1
    return dict(
        garment=noise(batch, 3, *SIZE),
        flow=identity_flow(SIZE, mask).expand(batch, -1, -1, -1),
        warped_mask=mask,
        retained=noise(batch, 4, *SIZE, seed=1),
        pose=noise(batch, 3, *SIZE, seed=2),
        noise=[
            noise(batch, 1, *side, seed=3 + n) for n, side in enumerate(network.noise_sizes(SIZE))
        ],
    )


def test_modulation_is_written_out():
    """y = lrelu(IN(conv((1 + gamma) x + beta)) + strength noise + bias), METHODS.md 5.6."""
    torch.manual_seed(0)
    layer = StyledConv(3, 4, 5, 6).double()
    with torch.no_grad():
        layer.noise_strength.fill_(0.3)
        layer.bias.copy_(noise(4))
    x, style, drawn = noise(2, 3, 6, 5), noise(2, 5, 6, 5, seed=1), noise(2, 1, 6, 5, seed=2)
    mlp = layer.modulation
    hidden = torch.einsum("oi,bihw->bohw", mlp.hidden.weight[..., 0, 0] / 5**0.5, style)
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden) * 2**0.5
    both = torch.einsum("oi,bihw->bohw", mlp.out.weight[..., 0, 0] / 6**0.5, hidden)
    shaped = (1 + both[:, :3]) * x + both[:, 3:]
    columns = F.unfold(shaped, 3, padding=1)  # (B, 27, 30)
    y = (layer.conv.weight.flatten(1) / 27**0.5 @ columns).reshape(2, 4, 6, 5)
    y = (y - y.mean((2, 3), keepdim=True)) / (y.var((2, 3), False, keepdim=True) + 1e-5).sqrt()
    y = y + 0.3 * drawn + layer.bias[:, None, None]
    wanted = torch.where(y > 0, y, 0.2 * y) * 2**0.5
    assert torch.allclose(layer(x, style, drawn), wanted, atol=1e-12)
    assert torch.equal(modulate(x, torch.zeros_like(x), torch.zeros_like(x)), x)


def test_colours_are_summed_over_scales():
    torch.manual_seed(0)
    layer = StyledRGB(3, 5, 6).double()
    x, style, before = noise(1, 3, 4, 4), noise(1, 5, 4, 4, seed=1), noise(1, 3, 2, 2, seed=2)
    alone = layer.conv(layer.modulation(x, style))
    assert torch.equal(layer(x, style, None), alone)
    wanted = alone + F.interpolate(before, (4, 4), mode="bilinear")
    assert torch.allclose(layer(x, style, before), wanted)


def test_a_styled_pixel_is_its_own():
    """Without a convolution between, one pixel's style changes that pixel alone."""
    torch.manual_seed(0)
    layer = StyledRGB(3, 5, 6).double()
    x, style = noise(1, 3, 4, 4), noise(1, 5, 4, 4, seed=1)
    other = style.clone()
    other[..., 1, 2] += 1
    changed = (layer(x, style, None) != layer(x, other, None)).any(1)[0]
    assert changed.nonzero().tolist() == [[1, 2]]


def test_garment_features_are_warped_and_cut():
    features = noise(2, 3, 8, 8)
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    mask[..., 2:5] = 0.5
    flow = identity_flow((16, 16), features).flip(1).expand(2, -1, -1, -1)  # mirrored
    wanted = features.flip(3) * mask
    assert torch.allclose(warp_features(features, flow, mask), wanted, atol=1e-12)


def test_towers_see_the_garment_only_inside_the_warped_mask():
    torch.manual_seed(0)
    towers = AppearanceTowers(channels=(4, 6), retained_channels=4, fused_channels=6).double()
    given = inputs(generator())
    flow, mask, retained = given["flow"], torch.zeros_like(given["warped_mask"]), given["retained"]
    first = towers(given["garment"], flow, mask, retained)
    second = towers(-given["garment"], flow, mask, retained)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert [tuple(m.shape[1:]) for m in first] == [(4, 16, 8), (6, 8, 4)]
    seen = towers(-given["garment"], flow, given["warped_mask"], retained)
    assert not torch.equal(first[0], seen[0])


def test_picture_size_and_noise_sizes():
    network = generator()
    assert network.noise_sizes(SIZE) == [(4, 2), (8, 4), (8, 4), (16, 8), (16, 8)]
    given = inputs(network)
    assert network(**given).shape == (2, 3, *SIZE)
    with pytest.raises(ValueError, match=r"3 channels need sizes divisible by 4, not 18x8"):
        network.noise_sizes((18, 8))
    # a garment picture of another size
    assert network(**{**given, "garment": noise(2, 3, 24, 24)}).shape == (2, 3, *SIZE)


def test_samples_of_a_batch_do_not_touch_each_other():
    network = generator()
    given = inputs(network)
    both = network(**given)
    first = {k: [m[:1] for m in v] if k == "noise" else v[:1] for k, v in given.items()}
    assert torch.allclose(network(**first), both[:1], atol=1e-12)


def test_gradients_reach_every_parameter_and_every_input():
    network = generator()
    given = inputs(network)
    given["garment"].requires_grad_()
    given["retained"].requires_grad_()
    given["pose"].requires_grad_()
    network(**given).square().sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(given[name].grad.any() for name in ("garment", "retained", "pose"))


def test_noise_matters_once_its_strength_is_learned():
    network = generator()
    given = inputs(network)
    still = {**given, "noise": [-maps for maps in given["noise"]]}
    assert torch.equal(network(**given), network(**still))  # strengths start at 0
    with torch.no_grad():
        for part in network.synthesis.modules():
            if isinstance(part, StyledConv):
                part.noise_strength.fill_(0.1)
    assert not torch.allclose(network(**given), network(**still))


def test_synthesis_uses_the_coarser_style_before_it_doubles():
    torch.manual_seed(0)
    network = ModulatedSynthesis(channels=(4, 6), hidden=4).double()
    x, drawn = noise(1, 6, 4, 4), [noise(1, 1, 4, 4), noise(1, 1, 8, 8), noise(1, 1, 8, 8)]
    fine, coarse = noise(1, 4, 8, 8), noise(1, 6, 4, 4, seed=1)
    y = network.first(x, coarse, drawn[0])
    picture = network.colours[0](y, coarse, None)
    y = network.convs[0](network.ups[0](y, coarse, drawn[1]), fine, drawn[2])
    wanted = network.colours[1](y, fine, picture)
    assert torch.equal(network(x, [fine, coarse], drawn), wanted)
    assert torch.equal(leaky(torch.tensor(-1.0)), torch.tensor(-0.2 * 2**0.5))
