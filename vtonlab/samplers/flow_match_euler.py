"""Euler sampling of rectified flows, on diffusers' scheduler."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from vtonlab.ops.panels import dynamic_shift
from vtonlab.registry import SAMPLERS


@SAMPLERS.register_module()
class FlowMatchEulerSampler:
    """``num_steps`` Euler steps from noise to data (FLUX's own sampler).

    Args:
        num_steps: network calls; 28 for CORAL.
        dynamic_shifting: shift the noise levels by the number of image tokens, as FLUX does; False
            keeps them even.
        shift: constant time shift, used where ``dynamic_shifting`` is off.
    """

    noise_schedules = ("FlowMatchingSchedule",)

    def __init__(
        self, *, num_steps: int = 28, dynamic_shifting: bool = False, shift: float = 1.0
    ) -> None:
        if num_steps < 1:
            raise ValueError(f"num_steps={num_steps}: at least one step is needed")
        self.num_steps, self.dynamic_shifting, self.shift = num_steps, dynamic_shifting, shift

    def sigmas(self, sequence_length: int) -> Tensor:
        """Noise levels ``(num_steps + 1,)`` from 1 down to 0."""
        return self._scheduler(sequence_length).sigmas

    def __call__(
        self, predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, sequence_length: int
    ) -> Tensor:
        """Follow ``predict(latents, sigmas (B,)) -> velocity`` from ``noise`` to clean latents of
        the same shape.
        """
        scheduler = self._scheduler(sequence_length)
        latents = noise
        for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            level = sigma.to(noise).expand(noise.shape[0])
            velocity = predict(latents, level)
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return latents

    def _scheduler(self, sequence_length: int):
        from diffusers import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=self.dynamic_shifting, shift=self.shift
        )
        sigmas = np.linspace(1.0, 1.0 / self.num_steps, self.num_steps)
        mu = dynamic_shift(sequence_length) if self.dynamic_shifting else None
        scheduler.set_timesteps(sigmas=sigmas, mu=mu)
        return scheduler
