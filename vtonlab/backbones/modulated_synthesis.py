"""StyleGAN2 synthesis whose styles are maps: each pixel is scaled and shifted by its own style."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.backbones.appearance_towers import AppearanceTowers
from vtonlab.backbones.equalized import EqualConv2d, Pyramid, leaky
from vtonlab.registry import BACKBONES


def noise_sizes(size: Sequence[int], scales: int, owner: str) -> list[tuple[int, int]]:
    """(h, w) of each layer's noise for pictures of ``size``, coarsest first: one layer at the
    coarsest scale and two at each other one.

    Raises:
        ValueError: a size that cannot be halved ``scales - 1`` times.
    """
    factor = 2 ** (scales - 1)
    if any(side % factor for side in size):
        raise ValueError(
            f"{owner}: {scales} channels need sizes divisible by {factor}, not {size[0]}x{size[1]}"
        )
    sides = [(size[0] // 2**s, size[1] // 2**s) for s in reversed(range(scales))]
    return [sides[0], *(side for side in sides[1:] for _ in range(2))]


def modulate(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """``(1 + gamma) x + beta``, each pixel and channel its own (SPADE eq. 1 without its norm)."""
    return (1.0 + gamma) * x + beta


class StyleModulation(nn.Module):
    """gamma and beta from a style map: 1x1 convolutions with one hidden layer."""

    def __init__(self, style: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = EqualConv2d(style, hidden, 1)
        self.out = EqualConv2d(hidden, 2 * channels, 1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, C, h, w) modulated by style (B, S, h, w)."""
        gamma, beta = self.out(leaky(self.hidden(style))).chunk(2, dim=1)
        return modulate(x, gamma, beta)


class StyledConv(nn.Module):
    """Modulation of the input, 3x3 convolution, instance normalisation, noise, leaky ReLU."""

    def __init__(
        self, inputs: int, outputs: int, style: int, hidden: int, scale: str | None = None
    ) -> None:
        super().__init__()
        self.modulation = StyleModulation(style, inputs, hidden)
        self.conv = EqualConv2d(inputs, outputs, 3, scale=scale, bias=False)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """(B, inputs, h, w), style (B, S, h, w), noise (B, 1, h', w') to (B, outputs, h', w')."""
        x = F.instance_norm(self.conv(self.modulation(x, style)))
        return leaky(x + self.noise_strength * noise + self.bias.reshape(-1, 1, 1))


class StyledRGB(nn.Module):
    """Colours of one scale: modulation and a 1x1 convolution, added to the coarser ones."""

    def __init__(self, channels: int, style: int, hidden: int) -> None:
        super().__init__()
        self.modulation = StyleModulation(style, channels, hidden)
        self.conv = EqualConv2d(channels, 3, 1)

    def forward(self, x: Tensor, style: Tensor, before: Tensor | None) -> Tensor:
        """Picture (B, 3, h, w); ``before`` (B, 3, h / 2, w / 2)."""
        colours = self.conv(self.modulation(x, style))
        if before is None:
            return colours
        return colours + F.interpolate(before, scale_factor=2, mode="bilinear")


class ModulatedSynthesis(nn.Module):
    """From features of the coarsest scale to a picture, scale by scale.

    The convolution that doubles the size reads its input, so the style map of the coarser scale
    modulates it; the second convolution and the colours take the finer one.

    Args:
        channels: of features and style maps, finest first.
        hidden: of the layer between a style map and its gamma and beta.
    """

    def __init__(self, *, channels: Sequence[int], hidden: int) -> None:
        super().__init__()
        widths = list(channels)[::-1]
        self.first = StyledConv(widths[0], widths[0], widths[0], hidden)
        self.colours = nn.ModuleList(StyledRGB(width, width, hidden) for width in widths)
        steps = list(pairwise(widths))
        self.ups = nn.ModuleList(StyledConv(a, b, a, hidden, scale="up") for a, b in steps)
        self.convs = nn.ModuleList(StyledConv(b, b, b, hidden) for _, b in steps)

    def forward(self, x: Tensor, styles: Sequence[Tensor], noise: Sequence[Tensor]) -> Tensor:
        """Features (B, C, h, w), style maps finest first and noise (B, 1, h, w) coarsest first, one
        for the coarsest scale and two for each other one, to a picture (B, 3, H, W), about [-1, 1].
        """
        styles, noise = list(styles)[::-1], iter(noise)
        x = self.first(x, styles[0], next(noise))
        picture = self.colours[0](x, styles[0], None)
        for place, (up, conv) in enumerate(zip(self.ups, self.convs, strict=True), 1):
            x = up(x, styles[place - 1], next(noise))
            x = conv(x, styles[place], next(noise))
            picture = self.colours[place](x, styles[place], picture)
        return picture


@BACKBONES.register_module()
class SpatialStyleGenerator(nn.Module):
    """Garment, retained person and pose to a picture (METHODS.md 5.6).

    The pose is what the picture grows from, in place of StyleGAN2's constant; appearance enters as
    style maps.

    Args:
        channels: of the garment tower, the pose encoder and the synthesis, finest scale first.
        retained_channels: of the retained person's tower.
        fused_channels: where the towers are joined.
        style_hidden: between a style map and its gamma and beta.
    """

    region = "warped_mask"  # region of the warped garment that it reads, of ``Warp``

    def __init__(
        self,
        *,
        channels: Sequence[int] = (64, 128, 256, 512, 512, 512),
        retained_channels: int = 64,
        fused_channels: int = 512,
        style_hidden: int = 128,
    ) -> None:
        super().__init__()
        self.towers = AppearanceTowers(
            channels=channels, retained_channels=retained_channels, fused_channels=fused_channels
        )
        self.pose = Pyramid(3, tuple(channels))
        self.synthesis = ModulatedSynthesis(channels=channels, hidden=style_hidden)
        self.scales = len(channels)

    def noise_sizes(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """(h, w) of each layer's noise: :func:`noise_sizes`."""
        return noise_sizes(size, self.scales, type(self).__name__)

    def forward(
        self,
        garment: Tensor,
        flow: Tensor,
        warped_mask: Tensor,
        retained: Tensor,
        pose: Tensor,
        noise: Sequence[Tensor],
    ) -> Tensor:
        """Pictures (B, 3, H, W), about [-1, 1].

        Args:
            garment, flow, warped_mask, retained: see `AppearanceTowers`.
            pose: (B, 3, H, W) DensePose picture, [-1, 1].
            noise: (B, 1, h, w) for each layer, see :meth:`noise_sizes`.
        """
        styles = self.towers(garment, flow, warped_mask, retained)
        return self.synthesis(self.pose(pose)[-1], styles, noise)
