"""Euler sampling of rectified flows, on diffusers' scheduler."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vtonlab.ops.panels import dynamic_shift, empirical_shift
from vtonlab.registry import SAMPLERS
from vtonlab.samplers.base import DiffusionSampler, Predict


@SAMPLERS.register_module()
class FlowMatchEulerSampler(DiffusionSampler):
    """``num_steps`` Euler steps from noise to data (FLUX's own sampler).

    Args:
        num_steps: network calls; 28 for CORAL.
        dynamic_shifting: shift the noise levels by the number of image tokens: ``True`` as FLUX.1
            does, ``"flux2"`` as FLUX.2 does, by the number of steps too, ``"qwen_image"`` as
            Qwen-Image does, whose last level is 0.02 (a single step has none but pure noise, for
            which diffusers divides by zero); False keeps them even.
        shift: constant time shift, used where ``dynamic_shifting`` is off.
        guidance_scale, guidance_rescale, average: see :class:`DiffusionSampler`; guidance 1 for
            backbones that have it distilled into them. Sampling always starts from noise.
    """

    noise_schedules = ("FlowMatchingSchedule",)

    def __init__(
        self,
        *,
        num_steps: int = 28,
        dynamic_shifting: bool | str = False,
        shift: float = 1.0,
        guidance_scale: float = 1.0,
        guidance_rescale: float = 0.0,
        average: int = 1,
    ) -> None:
        super().__init__(
            guidance_scale=guidance_scale, guidance_rescale=guidance_rescale, average=average
        )
        if not 1 <= num_steps <= 1000:
            raise ValueError(f"num_steps={num_steps}: 1 to 1000, the noise levels there are")
        if dynamic_shifting not in (True, False, "flux2", "qwen_image"):
            raise ValueError(
                f"dynamic_shifting={dynamic_shifting!r}: True, False, 'flux2' or 'qwen_image'"
            )
        self.num_steps, self.dynamic_shifting, self.shift = num_steps, dynamic_shifting, shift

    def sigmas(self, sequence_length: int) -> Tensor:
        """Noise levels ``(num_steps + 1,)`` from 1 down to 0."""
        return self._scheduler(sequence_length).sigmas

    def __call__(
        self,
        predict: Predict,
        latents: Tensor,
        sequence_length: int,
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """Follow the velocity ``predict`` from noise to clean latents; nothing is drawn."""
        scheduler = self._scheduler(sequence_length)
        levels = zip(scheduler.timesteps, scheduler.sigmas, strict=False)
        for step, (timestep, sigma) in enumerate(levels):
            level = sigma.to(latents).expand(latents.shape[0])
            velocity = predict(latents, level)
            clean = partial(torch.sub, latents, velocity, alpha=float(sigma))
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
            latents = self.after_step(step, timestep, latents, clean)
        return latents

    def _scheduler(self, sequence_length: int):
        from diffusers import FlowMatchEulerDiscreteScheduler

        ends_early = self.dynamic_shifting == "qwen_image" and self.num_steps > 1
        scheduler = FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=bool(self.dynamic_shifting),
            shift=self.shift,
            shift_terminal=0.02 if ends_early else None,
        )
        sigmas = np.linspace(1.0, 1.0 / self.num_steps, self.num_steps)
        scheduler.set_timesteps(sigmas=sigmas, mu=self._mu(sequence_length))
        return scheduler

    def _mu(self, sequence_length: int) -> float | None:
        if self.dynamic_shifting == "flux2":
            return empirical_shift(sequence_length, self.num_steps)
        if self.dynamic_shifting == "qwen_image":
            return dynamic_shift(sequence_length, max_length=8192, max_shift=0.9)
        return dynamic_shift(sequence_length) if self.dynamic_shifting else None
