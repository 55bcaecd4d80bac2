"""The generator of 3D-GCL's published weights, which is another network than its paper describes.

Against `SpatialStyleGenerator`: gamma and beta come from a branch each, with ReLU, and
``gamma x + beta`` has no 1; colours are normalised too; style maps have no activation, and the
coarsest is the joined features themselves; the towers double their sums by repeating pixels and
begin with 1x1 convolutions; the retained person has no mask beside it.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.backbones.equalized import EqualConv2d, Pyramid, blur, leaky
from vtonlab.backbones.modulated_synthesis import noise_sizes
from vtonlab.registry import BACKBONES


def unit_spread(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Each channel of each picture minus its mean, over the root of its unbiased variance."""
    variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


def doubled(picture: Tensor) -> Tensor:
    """(B, C, h, w) to (B, C, 2h, 2w): zeros between the pixels, then StyleGAN2's blur."""
    spread = picture.new_zeros(*picture.shape[:2], *(2 * n for n in picture.shape[-2:]))
    spread[..., ::2, ::2] = picture
    return blur(F.pad(spread, (2, 1, 2, 1)), 0, gain=4.0)


def aligned(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) to (B, C, *size), bilinear, corner pixels on corner pixels."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class TwoBranchConv(nn.Module):
    """``gamma x + beta`` from a style map, convolution without bias, `unit_spread`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, hidden: int, scale: str | None = None
    ) -> None:
        super().__init__()
        self.gamma, self.beta = (
            nn.Sequential(EqualConv2d(inputs, hidden, 1), nn.ReLU(), EqualConv2d(hidden, inputs, 1))
            for _ in range(2)
        )
        self.conv = EqualConv2d(inputs, outputs, kernel, scale=scale, bias=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x and style (B, inputs, h, w) to (B, outputs, h', w')."""
        return unit_spread(self.conv(self.gamma(style) * x + self.beta(style)))


class TwoBranchStyledConv(nn.Module):
    """A `TwoBranchConv` of 3x3, then noise and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, hidden: int, scale: str | None = None) -> None:
        super().__init__()
        self.conv = TwoBranchConv(inputs, outputs, 3, hidden, scale)
        self.noise_strength = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """x and style (B, inputs, h, w), noise (B, 1, h', w') to (B, outputs, h', w')."""
        x = self.conv(x, style) + self.noise_strength * noise
        return leaky(x + self.bias.reshape(-1, 1, 1))


class TwoBranchRGB(nn.Module):
    """Colours of one scale, added to the coarser ones."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv = TwoBranchConv(channels, 3, 1, hidden)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, style: Tensor, before: Tensor | None) -> Tensor:
        """x and style (B, C, h, w) to (B, 3, h, w); ``before`` (B, 3, h / 2, w / 2)."""
        colours = self.conv(x, style) + self.bias.reshape(-1, 1, 1)
        return colours if before is None else colours + doubled(before)


class RepeatedSumTowers(nn.Module):
    """Style maps from the warped garment and the retained person, coarse sums repeated.

    Args:
        channels: of the garment's tower and of the style maps, finest first.
        retained_channels: of the person's tower, at each scale.
        fused_channels: of the sums; the coarsest style map's too.
    """

    def __init__(
        self, *, channels: Sequence[int], retained_channels: int, fused_channels: int
    ) -> None:
        super().__init__()
        self.garment = Pyramid(3, tuple(channels), stem=1)
        self.retained = Pyramid(3, (retained_channels,) * len(channels), stem=1)
        self.fuse = nn.ModuleList(
            EqualConv2d(width + retained_channels, fused_channels, 1) for width in channels
        )
        self.heads = nn.ModuleList(EqualConv2d(fused_channels, n, 3) for n in channels[:-1])

    def forward(self, garment: Tensor, flow: Tensor, region: Tensor, retained: Tensor) -> list:
        """Style maps (B, channels[s], H / 2^s, W / 2^s), finest first.

        Args:
            garment: (B, 3, H, W) garment on white, [-1, 1].
            flow: (B, h, w, 2) garment positions (x, y) in [0, 1] for each person pixel.
            region: (B, 1, h, w) where they are garment.
            retained: (B, 3, H, W) what is kept of the person, on white.
        """
        positions = flow.permute(0, 3, 1, 2)  # (B, 2, h, w)
        pairs = list(zip(self.garment(garment), self.retained(retained), strict=True))
        styles, summed = [], None
        for scale in reversed(range(len(pairs))):
            carried, kept = pairs[scale]
            grid = aligned(positions, kept.shape[-2:]).permute(0, 2, 3, 1) * 2 - 1
            warped = F.grid_sample(carried, grid, padding_mode="zeros", align_corners=False)
            warped = warped * aligned(region, kept.shape[-2:])
            fused = self.fuse[scale](torch.cat([warped, kept], 1))
            if summed is None:
                styles.append(fused)
                summed = fused
                continue
            summed = fused + F.interpolate(summed, scale_factor=2, mode="nearest")
            styles.append(self.heads[scale](summed))
        return styles[::-1]


@BACKBONES.register_module()
class TwoBranchStyleGenerator(nn.Module):
    """Garment, retained person and pose to a picture, as 3D-GCL's published weights compute it.

    Args:
        channels: of the garment tower, the pose encoder and the synthesis, finest scale first; the
            coarsest is ``fused_channels``.
        retained_channels: of the retained person's tower.
        fused_channels: where the towers are joined.
        style_hidden: between a style map and its gamma, and its beta.

    Raises:
        ValueError: the coarsest of ``channels`` is not ``fused_channels``.
    """

    region = "landed"  # region of the warped garment that it reads, of ``Warp``

    def __init__(
        self,
        *,
        channels: Sequence[int] = (64, 128, 256, 512, 512, 512),
        retained_channels: int = 64,
        fused_channels: int = 512,
        style_hidden: int = 128,
    ) -> None:
        super().__init__()
        if channels[-1] != fused_channels:
            raise ValueError(
                f"TwoBranchStyleGenerator: the coarsest style map is the joined features, so the "
                f"last of channels ({channels[-1]}) and fused_channels ({fused_channels}) are one"
            )
        self.towers = RepeatedSumTowers(
            channels=channels, retained_channels=retained_channels, fused_channels=fused_channels
        )
        self.pose = Pyramid(3, tuple(channels), stem=1)
        widths, self.scales = list(channels)[::-1], len(channels)
        self.first = TwoBranchStyledConv(widths[0], widths[0], style_hidden)
        self.colours = nn.ModuleList(TwoBranchRGB(width, style_hidden) for width in widths)
        steps = list(pairwise(widths))
        self.ups = nn.ModuleList(TwoBranchStyledConv(a, b, style_hidden, "up") for a, b in steps)
        self.convs = nn.ModuleList(TwoBranchStyledConv(b, b, style_hidden) for _, b in steps)

    def noise_sizes(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """(h, w) of each layer's noise: `modulated_synthesis.noise_sizes`."""
        return noise_sizes(size, self.scales, type(self).__name__)

    def forward(
        self,
        garment: Tensor,
        flow: Tensor,
        region: Tensor,
        retained: Tensor,
        pose: Tensor,
        noise: Sequence[Tensor],
    ) -> Tensor:
        """Pictures (B, 3, H, W), about [-1, 1].

        Args:
            garment, flow, region, retained: see `RepeatedSumTowers`.
            pose: (B, 3, H, W) what the picture grows from.
            noise: (B, 1, h, w) for each layer, see :meth:`noise_sizes`.
        """
        styles = self.towers(garment, flow, region, retained)[::-1]  # coarsest first
        noise = iter(noise)
        x = self.first(self.pose(pose)[-1], styles[0], next(noise))
        picture = self.colours[0](x, styles[0], None)
        for place, (up, conv) in enumerate(zip(self.ups, self.convs, strict=True), 1):
            x = up(x, styles[place - 1], next(noise))
            x = conv(x, styles[place], next(noise))
            picture = self.colours[place](x, styles[place], picture)
        return picture
