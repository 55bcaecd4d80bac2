"""What a try-on picture is made from, as style maps: the warped garment and the retained person."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.backbones.equalized import EqualConv2d, Pyramid, leaky
from vtonlab.ops.warp import resize_flow, sample_at


def warp_features(features: Tensor, flow: Tensor, mask: Tensor) -> Tensor:
    """Garment features where the person wears them, (B, C, h, w), zero elsewhere.

    Args:
        features: (B, C, h', w') of the garment picture.
        flow: (B, H, W, 2) garment positions (x, y) in [0, 1] for each person pixel, of any scale.
        mask: (B, 1, h, w) region of the warped garment at the person's scale, in [0, 1].
    """
    return sample_at(features, resize_flow(flow, mask.shape[-2:])) * mask


class AppearanceTowers(nn.Module):
    """Two pyramids, joined at each scale and summed from coarse to fine (METHODS.md 5.6).

    The garment's features are sampled at the flow and multiplied by the warped garment's region at
    every scale; beside them the person's go through a 1x1 convolution; the sums of all coarser
    scales, through a 3x3 convolution, are the style maps.

    Args:
        channels: of the garment pyramid and of the style maps, finest first.
        retained_channels: of the person's pyramid, at each scale.
        fused_channels: of the sums.
    """

    def __init__(
        self, *, channels: Sequence[int], retained_channels: int, fused_channels: int
    ) -> None:
        super().__init__()
        self.garment = Pyramid(3, tuple(channels))
        self.retained = Pyramid(4, (retained_channels,) * len(channels))
        self.fuse = nn.ModuleList(
            EqualConv2d(width + retained_channels, fused_channels, 1) for width in channels
        )
        self.heads = nn.ModuleList(EqualConv2d(fused_channels, width, 3) for width in channels)

    def forward(self, garment: Tensor, flow: Tensor, mask: Tensor, retained: Tensor) -> list:
        """Style maps (B, channels[s], H / 2^s, W / 2^s).

        Args:
            garment: (B, 3, Hg, Wg) garment on white, [-1, 1].
            flow: (B, h, w, 2), see :func:`warp_features`.
            mask: (B, 1, H, W) warped garment's region.
            retained: (B, 4, H, W) what is kept of the person, and the mask of what is not.
        """
        pairs = list(zip(self.garment(garment), self.retained(retained), strict=True))
        styles, summed = [], None
        for scale in reversed(range(len(pairs))):
            carried, kept = pairs[scale]
            region = F.interpolate(mask, kept.shape[-2:], mode="area")
            joined = torch.cat([warp_features(carried, flow, region), kept], 1)
            fused = self.fuse[scale](joined)
            if summed is not None:
                fused = fused + F.interpolate(summed, scale_factor=2, mode="bilinear")
            summed = fused
            styles.append(leaky(self.heads[scale](summed)))
        return styles[::-1]
