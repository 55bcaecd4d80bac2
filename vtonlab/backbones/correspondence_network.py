"""Two pyramid encoders whose features say where on a garment each person pixel looks (3D-GCL,
METHODS.md 5.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtonlab.registry import BACKBONES
from vtonlab.structures.attention_record import AttentionRecord

NORMS = ("group", "batch", "none")


@dataclass(frozen=True, eq=False)
class PyramidFeatures:
    """Unit features ``(B, D, h, w)`` of both sides at three scales, coarse to fine."""

    person: list[Tensor]
    garment: list[Tensor]


def normalised(features: Tensor) -> Tensor:
    """``(B, D, h, w)`` with each pixel's mean over channels taken away and length 1 (3D-GCL)."""
    return F.normalize(features - features.mean(1, keepdim=True), dim=1, eps=1e-8)


def correlation(
    person: Tensor, garment: Tensor, temperature: float, name: str = "correlation"
) -> AttentionRecord:
    """``softmax(theta^T phi / temperature)`` as a record: rows are person pixels, columns garment
    pixels (3D-GCL eq. 1, METHODS.md G1).

    Args:
        person, garment: normalised features ``(B, D, h, w)``, float32 or float64.
    """
    query, key = (f.flatten(2).mT.unsqueeze(1).contiguous() for f in (person, garment))
    return AttentionRecord(
        name=name,
        query=query,  # (B, 1, Nq, D)
        key=key,  # (B, 1, Nk, D)
        query_grid=tuple(person.shape[-2:]),
        key_grid=tuple(garment.shape[-2:]),
        scale=1.0 / temperature,
    )


@BACKBONES.register_module()
class CorrespondenceNetwork(nn.Module):
    """Person maps on one side, garment maps and picture on the other, in one space of features.

    Both encoders halve the picture three times and return to half its size: features at 1/8, 1/4
    and 1/2, each projected to ``dim`` channels, centred over channels and of length 1. Everything
    runs in float32 (or wider), whatever autocast says: correlations are multiplied by 100.

    Args:
        person_channels, garment_channels: of the two inputs: DensePose; DensePose and garment.
        widths: channels after the first, second and third halving.
        dim: channels of the features.
        temperature: of the correlation.
        stem_stride: 1 leaves out the first halving: all scales are twice as fine.
        norm: ``"group"`` (depends on no other picture), ``"batch"`` (the released one: in training
            the pictures of a batch depend on each other, in evaluation they do not) or ``"none"``.

    Raises:
        ValueError: an unknown ``norm``, another number of widths than three.
    """

    def __init__(
        self,
        *,
        person_channels: int = 3,
        garment_channels: int = 6,
        widths: Sequence[int] = (64, 64, 128),
        dim: int = 32,
        temperature: float = 0.01,
        stem_stride: int = 2,
        norm: str = "group",
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"CorrespondenceNetwork: norm {norm!r} is none of {', '.join(NORMS)}")
        if len(widths) != 3:
            raise ValueError(f"CorrespondenceNetwork: widths has three entries, not {len(widths)}")
        settings = dict(widths=tuple(widths), stem_stride=stem_stride, norm=norm)
        self.person_encoder = PyramidEncoder(person_channels, **settings)
        self.garment_encoder = PyramidEncoder(garment_channels, **settings)
        self.person_heads, self.garment_heads = (
            nn.ModuleList(nn.Conv2d(widths[2], dim, 1) for _ in range(3)) for _ in range(2)
        )
        self.dim, self.temperature, self.stride = dim, temperature, 4 * stem_stride

    def forward(self, person: Tensor, garment: Tensor) -> PyramidFeatures:
        """Features of inputs ``(B, C, H, W)`` whose sides are multiples of ``stride``."""
        with torch.autocast(person.device.type, enabled=False):
            sides = (
                (self.person_encoder, self.person_heads, person),
                (self.garment_encoder, self.garment_heads, garment),
            )
            features = []
            for encoder, heads, maps in sides:
                pyramid = encoder(maps.to(torch.promote_types(maps.dtype, torch.float32)))
                features.append(
                    [normalised(head(x)) for head, x in zip(heads, pyramid, strict=True)]
                )
        return PyramidFeatures(*features)

    def correlate(self, features: PyramidFeatures) -> AttentionRecord:
        """The global correlation of the coarsest features."""
        return correlation(features.person[0], features.garment[0], self.temperature)


class PyramidEncoder(nn.Module):
    """``(B, C, H, W)`` to features of ``widths[2]`` channels at 1/8, 1/4 and 1/2."""

    def __init__(self, channels: int, widths: Sequence[int], stem_stride: int, norm: str) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.down1 = _conv(channels, half, 3, norm, stride=stem_stride)
        self.down2 = _block(half, quarter, 3, norm, stride=2)
        self.down3 = _block(quarter, eighth, 3, norm, stride=2)
        self.deep1 = _block(eighth, eighth, 5, norm)
        self.deep2 = _block(eighth, eighth, 5, norm)
        self.merge1 = _block(2 * eighth, eighth, 5, norm)
        self.merge2 = _block(2 * eighth, eighth, 5, norm)
        self.up1 = _block(eighth + quarter, eighth, 5, norm)
        self.up2 = _block(eighth + half, eighth, 5, norm)

    def forward(self, maps: Tensor) -> list[Tensor]:
        x1 = self.down1(maps)  # (B, half, H / 2, W / 2)
        x2 = self.down2(x1)
        x3 = self.down3(x2)  # (B, eighth, H / 8, W / 8)
        x4 = self.deep1(x3)
        x5 = self.deep2(x4)
        merged = self.merge1(torch.cat([x5, x4], 1))
        merged = self.merge2(torch.cat([merged, x3], 1))
        finer = self.up1(torch.cat([_doubled(merged), x2], 1))
        finest = self.up2(torch.cat([_doubled(finer), x1], 1))
        return [x5, finer, finest]


class ResidualBlock(nn.Module):
    """Two convolutions around a skip, reflected at the border."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm1 = _norm(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm2 = _norm(norm, channels)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        return self.act(x + residual)


def _conv(source: int, target: int, kernel: int, norm: str, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(source, target, kernel, stride=stride, padding=kernel // 2, bias=norm != "batch"),
        _norm(norm, target),
        nn.LeakyReLU(0.2),
    )


def _block(source: int, target: int, kernel: int, norm: str, stride: int = 1) -> nn.Sequential:
    convolution = _conv(source, target, kernel, norm, stride)
    return nn.Sequential(*convolution, ResidualBlock(target, norm))


def _norm(norm: str, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(max(1, channels // 8), channels) if norm == "group" else nn.Identity()


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
