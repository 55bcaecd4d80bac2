"""Refining a coarse flow at finer scales by what its neighbourhood looks like (3D-GCL's GACRM,
METHODS.md 5.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vtonlab.backbones.correspondence_network import PyramidFeatures
from vtonlab.ops.flow_arithmetic import PIXEL_CENTRES, FlowArithmetic
from vtonlab.registry import BACKBONES

SMOOTHING = ("residual", "replace", "none")


@BACKBONES.register_module()
class FlowRefinement(nn.Module):
    """``f_{l+1} = up(f_l) + h(x_{l+1}, y_{l+1}, up(f_l))`` at two finer scales (3D-GCL eq. 2).

    Each scale has weights of its own. A recurrent unit looks at the garment's features where the
    flow points, and adds to the offset; every time the offset then passes a learned smoothing.

    Args:
        dim: channels of the features.
        hidden: state of the recurrent unit.
        motion: channels that describe the flow and what is found there.
        iterations: updates at each scale.
        smoothing: ``"residual"`` adds to the offset and begins as the identity; ``"replace"`` takes
            its place, as released (METHODS.md G7); ``"none"``.
        compare_slope: of the leaky ReLUs where features are compared; 0.1 is the released code's.

    Raises:
        ValueError: an unknown ``smoothing``.
    """

    def __init__(
        self,
        *,
        dim: int = 32,
        hidden: int = 32,
        motion: int = 64,
        iterations: int = 2,
        smoothing: str = "residual",
        compare_slope: float = 0.2,
    ) -> None:
        super().__init__()
        if smoothing not in SMOOTHING:
            raise ValueError(
                f"FlowRefinement: smoothing {smoothing!r} is none of {', '.join(SMOOTHING)}"
            )
        self.scales = nn.ModuleList(
            RefinementScale(dim, hidden, motion, iterations, smoothing, compare_slope)
            for _ in range(2)
        )

    def forward(
        self,
        flow: Tensor,
        features: PyramidFeatures,
        arithmetic: FlowArithmetic = PIXEL_CENTRES,
    ) -> list[Tensor]:
        """Flows ``(B, h, w, 2)`` at the two finer scales of ``features``.

        Args:
            flow: ``(B, h, w, 2)`` at the coarsest scale.
            arithmetic: how it is counted and sampled.
        """
        flows = []
        with torch.autocast(flow.device.type, enabled=False):
            for scale, person, garment in zip(
                self.scales, features.person[1:], features.garment[1:], strict=True
            ):
                start = arithmetic.finer(flow, flow.shape[1:3], person.shape[-2:])
                flow = scale(start, person, garment, arithmetic)
                flows.append(flow)
        return flows


class RefinementScale(nn.Module):
    """One scale of :class:`FlowRefinement`. Offsets are in pixels of the garment's features."""

    def __init__(
        self,
        dim: int,
        hidden: int,
        motion: int,
        iterations: int,
        smoothing: str,
        compare_slope: float,
    ) -> None:
        super().__init__()
        self.state = nn.Sequential(
            *_instance_conv(2 * dim, hidden, 3), *_instance_conv(hidden, hidden, 3)
        )
        self.compare = nn.Sequential(
            *(nn.Conv2d(2 * dim, dim, 7, padding=3), nn.LeakyReLU(compare_slope)),
            *(nn.Conv2d(dim, dim, 5, padding=2), nn.LeakyReLU(compare_slope)),
            nn.Conv2d(dim, dim, 3, padding=1),
        )
        self.motion = MotionEncoder(dim, motion)
        self.unit = SeparableGRU(hidden, motion)
        self.head = nn.Sequential(
            nn.Conv2d(hidden, 2 * hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * hidden, 2, 3, padding=1),
        )
        smooth = [] if smoothing == "none" else [_smoothing(dim) for _ in range(iterations)]
        self.smooth = nn.ModuleList(smooth)
        if smoothing == "residual":
            for last in (block[-1] for block in self.smooth):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        self.iterations, self.residual = iterations, smoothing == "residual"

    def forward(
        self,
        flow: Tensor,
        person: Tensor,
        garment: Tensor,
        arithmetic: FlowArithmetic = PIXEL_CENTRES,
    ) -> Tensor:
        """The refined flow ``(B, h, w, 2)`` from features ``(B, D, h, w)``."""
        size = garment.shape[-2:]
        offset = arithmetic.offset(flow, size)  # (B, 2, h, w)
        state = self.state(torch.cat([person, garment], 1))
        found = self.compare(torch.cat([person, arithmetic.sample(garment, flow)], 1))
        for step in range(self.iterations):
            state = self.unit(state, self.motion(found, offset))
            offset = offset + self.head(state)
            if len(self.smooth):
                smoothed = self.smooth[step](offset)
                offset = offset + smoothed if self.residual else smoothed
        return arithmetic.absolute(offset, size)


class MotionEncoder(nn.Module):
    """What is found where the flow points; its last two channels are the flow itself (RAFT)."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.found = nn.Sequential(
            *(nn.Conv2d(dim, channels, 1), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()),
        )
        self.offset = nn.Sequential(
            *(nn.Conv2d(2, channels, 7, padding=3), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()),
        )
        self.fuse = nn.Sequential(nn.Conv2d(2 * channels, channels - 2, 3, padding=1), nn.ReLU())

    def forward(self, found: Tensor, offset: Tensor) -> Tensor:
        both = torch.cat([self.found(found), self.offset(offset)], 1)
        return torch.cat([self.fuse(both), offset], 1)  # (B, channels, h, w)


class SeparableGRU(nn.Module):
    """A convolutional gated unit: one pass along rows, one along columns."""

    def __init__(self, hidden: int, inputs: int) -> None:
        super().__init__()
        shapes = (((1, 5), (0, 2)), ((5, 1), (2, 0)))  # kernel, padding
        self.gates, self.candidates = (
            nn.ModuleList(nn.Conv2d(hidden + inputs, n * hidden, k, padding=p) for k, p in shapes)
            for n in (2, 1)
        )

    def forward(self, state: Tensor, inputs: Tensor) -> Tensor:
        for gates, candidate in zip(self.gates, self.candidates, strict=True):
            update, reset = gates(torch.cat([state, inputs], 1)).sigmoid().chunk(2, 1)
            proposal = candidate(torch.cat([reset * state, inputs], 1)).tanh()
            state = (1 - update) * state + update * proposal
        return state


def _instance_conv(source: int, target: int, kernel: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(source, target, kernel, padding=kernel // 2)
    return convolution, nn.InstanceNorm2d(target), nn.ReLU()


def _smoothing(channels: int) -> nn.Sequential:
    return nn.Sequential(*_instance_conv(2, channels, 5), nn.Conv2d(channels, 2, 5, padding=2))
