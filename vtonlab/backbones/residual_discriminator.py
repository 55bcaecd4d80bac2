"""StyleGAN2's residual discriminator."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vtonlab.backbones.equalized import EqualConv2d, EqualLinear, Pyramid, leaky
from vtonlab.registry import BACKBONES


def minibatch_stddev(features: Tensor, group: int, eps: float = 1e-8) -> Tensor:
    """How much the samples of a group differ: one number per group, as a channel.

    Groups are strided: of M groups, group m holds samples m, m + M, m + 2 M, ... As data samplers
    hand out samples to ranks in turn, a run of several processes has the groups of one process
    wherever ``group`` divides the samples of each.

    Args:
        features: (B, C, H, W).
        group: samples of a group; divides B.
        eps: added to variances.

    Returns:
        (B, 1, H, W): standard deviation over the group, averaged over C, H and W.

    Raises:
        ValueError: ``group`` does not divide B.
    """
    batch, _, height, width = features.shape
    if batch % group:
        raise ValueError(
            f"minibatch standard deviation: {batch} samples cannot be split into groups of "
            f"{group}; set the discriminator's stddev_group to a divisor of the batch size"
        )
    grouped = features.float().reshape(group, batch // group, -1)  # (G, M, C H W)
    variance = (grouped - grouped.mean(0)).square().mean(0)
    deviation = (variance + eps).sqrt().mean(1)  # (M,)
    return deviation.repeat(group).reshape(batch, 1, 1, 1).expand(-1, -1, height, width)


@BACKBONES.register_module()
class ResidualDiscriminator(nn.Module):
    """Scores pictures together with what they must fit (METHODS.md 5.6).

    Args:
        size: (height, width) of the pictures, each divisible by 2^(number of channels - 1).
        channels: of each scale, finest first.
        inputs: channels of the picture and its condition.
        stddev_group: see :func:`minibatch_stddev`.
        stem: side of the first convolution, 3 or 1 (StyleGAN2's, and 3D-GCL's published one).

    Raises:
        ValueError: a size that cannot be halved so often.
    """

    def __init__(
        self,
        *,
        size: Sequence[int],
        channels: Sequence[int] = (64, 128, 256, 512, 512, 512, 512, 512),
        inputs: int = 6,
        stddev_group: int = 4,
        stem: int = 3,
    ) -> None:
        super().__init__()
        factor = 2 ** (len(channels) - 1)
        if any(side % factor for side in size):
            raise ValueError(
                f"ResidualDiscriminator: {len(channels)} channels need sizes divisible by "
                f"{factor}, not {size[0]}x{size[1]}"
            )
        self.stddev_group, width = stddev_group, channels[-1]
        self.pyramid = Pyramid(inputs, tuple(channels), stem)
        self.last = EqualConv2d(width + 1, width, 3)
        self.hidden = EqualLinear(width * (size[0] // factor) * (size[1] // factor), width)
        self.score = EqualLinear(width, 1)

    def forward(self, pictures: Tensor, condition: Tensor) -> Tensor:
        """Scores (B,) of pictures (B, 3, H, W) under a condition (B, inputs - 3, H, W)."""
        features = self.pyramid(torch.cat([pictures, condition], 1))[-1]
        deviation = minibatch_stddev(features, self.stddev_group).to(features)
        features = leaky(self.last(torch.cat([features, deviation], 1)))
        return self.score(leaky(self.hidden(features.flatten(1))))[:, 0]
