"""Rectified-flow noising: straight lines from data to noise."""

import math

import torch
from torch import Tensor

from vtonlab.registry import NOISE_SCHEDULES


@NOISE_SCHEDULES.register_module()
class FlowMatchingSchedule:
    """``z_s = (1 - s) z_0 + s eps`` with velocity target ``eps - z_0`` (METHODS.md 1.3).

    Args:
        density: how noise levels are drawn in training, ``"uniform"`` or ``"logit_normal"`` (SD3's
            choice).
        shift: time shift ``s -> shift s / (1 + (shift - 1) s)``; 1 changes nothing, ``exp(mu)`` is
            FLUX's dynamic shift.
        mean, std: of the logit-normal density.
    """

    prediction_type = "velocity"

    def __init__(
        self, *, density: str = "uniform", shift: float = 1.0, mean: float = 0.0, std: float = 1.0
    ) -> None:
        if density not in ("uniform", "logit_normal"):
            raise ValueError(f"density={density!r}: choose 'uniform' or 'logit_normal'")
        if shift <= 0 or not math.isfinite(shift):
            raise ValueError(f"shift={shift}: a positive number is needed")
        self.density, self.shift, self.mean, self.std = density, shift, mean, std

    def draw(self, generator: torch.Generator) -> Tensor:
        """One noise level, a scalar tensor in (0, 1), on the CPU."""
        if self.density == "uniform":
            sigma = torch.rand((), generator=generator)
        else:
            sigma = torch.sigmoid(self.mean + self.std * torch.randn((), generator=generator))
        return self.shift * sigma / (1 + (self.shift - 1) * sigma)

    def timesteps(self, sigmas: Tensor) -> Tensor:
        """Noise levels on the 0..1000 scale that gates and networks of the diffusion family use."""
        return sigmas * 1000.0

    def add_noise(self, clean: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
        """``clean`` and ``noise`` (B, ...), ``sigmas`` (B,)."""
        s = _expand(sigmas, clean)
        return (1 - s) * clean + s * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """What the network is asked for: the velocity."""
        return noise - clean

    def clean_from_velocity(self, noisy: Tensor, velocity: Tensor, sigmas: Tensor) -> Tensor:
        """The clean estimate ``z_s - s v``."""
        return noisy - _expand(sigmas, noisy) * velocity


def _expand(sigmas: Tensor, like: Tensor) -> Tensor:
    return sigmas.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
