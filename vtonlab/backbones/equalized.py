"""Layers of StyleGAN2 in plain torch: equalised convolutions that blur where they change scale."""

import functools
import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TAPS = (1.0, 3.0, 3.0, 1.0)


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, scaled so that it keeps the variance of its input."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2.0)


@functools.cache
def _kernel(gain: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    taps = torch.tensor(_TAPS, device=device, dtype=dtype) / sum(_TAPS)
    return gain * taps[:, None] * taps


def blur(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """Low-pass filter [1, 3, 3, 1] x [1, 3, 3, 1], zeros around; (B, C, H, W) to
    (B, C, H + 2 padding - 3, ...).

    Args:
        padding: zeros on each side.
        gain: factor on the values; 4 after an upsampling that put zeros between pixels.
    """
    kernel = _kernel(gain, x.device, x.dtype).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(x, kernel, padding=padding, groups=x.shape[1])


class EqualConv2d(nn.Module):
    """Convolution whose weights are N(0, 1) and scaled by 1 / sqrt(fan-in) when used.

    Args:
        kernel: 1 or 3; the picture keeps its size.
        scale: ``"up"`` doubles it (transposed convolution, then blur), ``"down"`` halves an even
            one (blur, then stride 2), ``None`` leaves it.
        bias: add a learned bias, 0 at first.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, scale: str | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        assert scale in (None, "up", "down") and kernel in ((3,) if scale == "up" else (1, 3))
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain = 1.0 / math.sqrt(inputs * kernel**2)
        self.kernel, self.scale = kernel, scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H', W')."""
        weight = self.weight * self.gain
        if self.scale == "up":
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # 2 H + 1
            x = blur(x, 1, gain=4.0)  # 2 H
            return x if self.bias is None else x + self.bias.reshape(-1, 1, 1)
        if self.scale == "down":
            x = blur(x, (self.kernel + 1) // 2)  # H - 2 + kernel
            return F.conv2d(x, weight, self.bias, stride=2)  # H / 2
        return F.conv2d(x, weight, self.bias, padding=self.kernel // 2)


class EqualLinear(nn.Module):
    """A linear layer scaled as `EqualConv2d`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = 1.0 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        return F.linear(x, self.weight * self.gain, self.bias)


class ResidualDown(nn.Module):
    """Two convolutions and a 1x1 skip at half the size, their sum divided by sqrt(2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = EqualConv2d(inputs, inputs, 3)
        self.second = EqualConv2d(inputs, outputs, 3, scale="down")
        self.skip = EqualConv2d(inputs, outputs, 1, scale="down", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
        return (leaky(self.second(leaky(self.first(x)))) + self.skip(x)) / math.sqrt(2.0)


class Pyramid(nn.Module):
    """A convolution at full size, then a `ResidualDown` for each halving.

    Args:
        inputs: channels of the picture.
        channels: of each scale, finest first.
        stem: side of the first convolution, 3 or 1.
    """

    def __init__(self, inputs: int, channels: tuple[int, ...], stem: int = 3) -> None:
        super().__init__()
        self.stem = EqualConv2d(inputs, channels[0], stem)
        steps = pairwise(channels)
        self.downs = nn.ModuleList(ResidualDown(a, b) for a, b in steps)

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Picture (B, inputs, H, W) to features (B, channels[s], H / 2^s, W / 2^s)."""
        features = [leaky(self.stem(picture))]
        for down in self.downs:
            features.append(down(features[-1]))
        return features
