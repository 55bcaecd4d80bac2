"""Rectified-flow noising: straight lines from data to noise."""

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
        network_predicts: what the network's output is read as: ``"velocity"``, as FLUX and SD3 do,
            or ``"clean"``, from which the velocity follows as ``(z_s - z_0) / s``; a small network
            on pixels then need not carry the noise through its layers (arXiv 2511.13720).
        min_sigma: smallest ``s`` in that division of the training loss, which else would weigh
            pictures almost without noise without bound. Sampling divides by the level itself: a
            clean prediction steps to itself at level 0, whatever the loss weighs.
    """

    def __init__(
        self,
        *,
        density: str = "uniform",
        shift: float = 1.0,
        mean: float = 0.0,
        std: float = 1.0,
        network_predicts: str = "velocity",
        min_sigma: float = 0.05,
    ) -> None:
        if network_predicts not in ("velocity", "clean"):
            raise ValueError(f"network_predicts={network_predicts!r}: 'velocity' or 'clean'")
        self.network_predicts, self.min_sigma = network_predicts, min_sigma
        if density not in ("uniform", "logit_normal"):
            raise ValueError(f"density={density!r}: choose 'uniform' or 'logit_normal'")
        if not 1e-3 <= shift <= 1e3:
            raise ValueError(f"shift={shift}: a number within [0.001, 1000] is needed")
        self.density, self.shift, self.mean, self.std = density, shift, mean, std

    def draw(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Noise levels in (0, 1), of that ``shape`` (one, a scalar), on the CPU."""
        if self.density == "uniform":
            sigma = torch.rand(shape, generator=generator)
        else:
            sigma = torch.sigmoid(self.mean + self.std * torch.randn(shape, generator=generator))
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

    def residual(self, output: Tensor, clean: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
        """Error of the velocity that ``output`` stands for; its mean square is the loss."""
        if self.network_predicts == "velocity":
            return output - self.target(clean, noise)
        return (clean - output) / _expand(sigmas, clean).clamp(min=self.min_sigma)

    def loss_weights(self, sigmas: Tensor) -> None:
        """Weights of the samples' losses: None, all noise levels weigh alike."""

    def prediction(self, output: Tensor, noisy: Tensor, sigmas: Tensor) -> Tensor:
        """The velocity, which samplers step on, that the network's ``output`` stands for.

        ``output`` and ``noisy`` (B, ...), ``sigmas`` (B,) above 0, where velocities exist.
        """
        if self.network_predicts == "velocity":
            return output
        return (noisy - output) / _expand(sigmas, noisy)

    def clean_from_velocity(self, noisy: Tensor, velocity: Tensor, sigmas: Tensor) -> Tensor:
        """The clean estimate ``z_s - s v``."""
        return noisy - _expand(sigmas, noisy) * velocity


def _expand(sigmas: Tensor, like: Tensor) -> Tensor:
    return sigmas.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
