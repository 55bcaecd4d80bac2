"""Samplers of epsilon models, on diffusers schedulers: PLMS, DDIM, DDPM."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from vtonlab.registry import SAMPLERS
from vtonlab.samplers.base import DiffusionSampler, Predict

_FAINT = 1e-3  # share of the signal below which a clean picture is not guessed brighter
SPACINGS = ("leading", "trailing", "linspace", "stride", "training")


class EpsilonSampler(DiffusionSampler):
    """Steps a diffusers scheduler over ``num_steps`` of the training timesteps.

    Args:
        num_steps: steps; PLMS asks the network once more, for its first step.
        timestep_spacing: ``"leading"`` with an offset of 1 (Stable Diffusion: 50 steps go 981, 961,
            ..., 1), ``"trailing"`` (starts at 999; better with few steps), ``"linspace"``,
            ``"training"``: trailing among the levels that training draws, which the schedule's
            ``shift`` leans to the noisy end, so that no level is asked for that the network hardly
            knows (DDIM without noise, and DDPM; one step is trailing's), or ``"stride"``: every
            ``1000 // num_steps``-th as CompVis's code does, which is ``"leading"`` where 1000 can
            be divided and else more steps that start higher: 30 asked for give 31 from 991, not 30
            from 958.
        guidance_scale, guidance_rescale, start, average: see :class:`DiffusionSampler`.
    """

    noise_schedules = ("DDPMSchedule",)

    def __init__(
        self,
        *,
        num_steps: int = 50,
        timestep_spacing: str = "leading",
        guidance_scale: float = 1.0,
        guidance_rescale: float = 0.0,
        start: str = "noise",
        average: int = 1,
    ) -> None:
        super().__init__(
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            start=start,
            average=average,
        )
        if not 1 <= num_steps <= 1000:
            raise ValueError(f"num_steps={num_steps}: 1 to 1000, the timesteps there are")
        if timestep_spacing not in SPACINGS:
            raise ValueError(f"timestep_spacing={timestep_spacing!r}: one of {', '.join(SPACINGS)}")
        self.num_steps, self.timestep_spacing = num_steps, timestep_spacing

    def fit(self, noise_schedule) -> None:
        """As :class:`DiffusionSampler`; pure noise cannot be stepped from by an epsilon."""
        super().fit(noise_schedule)
        if noise_schedule.zero_terminal_snr and not self._leads:
            raise ValueError(
                f"timestep_spacing={self.timestep_spacing!r} begins at pure noise, where "
                "zero_terminal_snr=True leaves an epsilon nothing to say: take 'leading'"
            )

    def __call__(
        self,
        predict: Predict,
        latents: Tensor,
        sequence_length: int,
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """See :class:`DiffusionSampler`; ``sequence_length`` changes nothing here."""
        scheduler = self.scheduler()
        extra = self.step_arguments(list(generators) or None)
        for step, timestep in enumerate(scheduler.timesteps):
            level = timestep.to(latents) / self.noise_schedule.num_timesteps
            epsilon = predict(latents, level.expand(latents.shape[0]))
            clean = partial(_clean, latents, epsilon, scheduler.alphas_cumprod[timestep])
            latents = scheduler.step(epsilon, timestep, latents, return_dict=False, **extra)[0]
            latents = self.after_step(step, timestep, latents, clean)
        return latents

    @property
    def calls(self) -> int:
        return len(self.scheduler().timesteps) * self.average

    def scheduler(self):
        """A fresh diffusers scheduler, its timesteps set."""
        raise NotImplementedError

    def step_arguments(self, generators: list[torch.Generator] | None) -> dict:
        """Further arguments of the scheduler's ``step``."""
        return {}

    def _betas(self) -> dict:
        schedule = self.noise_schedule
        return dict(
            num_train_timesteps=schedule.num_timesteps,
            beta_start=schedule.beta_start,
            beta_end=schedule.beta_end,
            beta_schedule="scaled_linear",
            timestep_spacing=self._diffusers_spacing,
            steps_offset=1 if self._leads else 0,
        )

    def _terminal(self) -> dict:
        """Of schedulers that know a zero terminal signal-to-noise ratio."""
        return dict(rescale_betas_zero_snr=self.noise_schedule.zero_terminal_snr)

    @property
    def _leads(self) -> bool:
        return self.timestep_spacing in ("leading", "stride")

    @property
    def _diffusers_spacing(self) -> str:
        other = {"stride": "leading", "training": "trailing"}
        return other.get(self.timestep_spacing, self.timestep_spacing)

    def _set(self, scheduler):
        if self.timestep_spacing == "training":
            scheduler.set_timesteps(timesteps=self.training_timesteps())
            return scheduler
        scheduler.set_timesteps(self.num_steps)
        if self.timestep_spacing == "stride":
            total = self.noise_schedule.num_timesteps
            more = range(1, total + 1, total // self.num_steps)[self.num_steps :]
            more = torch.tensor([*more][::-1], dtype=scheduler.timesteps.dtype)
            scheduler.timesteps = self._prepend(scheduler.timesteps, more)
        return scheduler

    def training_timesteps(self) -> list[int]:
        """From the noisiest down, even shares of what training draws, each once."""
        schedule, total = self.noise_schedule, self.noise_schedule.num_timesteps
        shares = (step / self.num_steps for step in range(self.num_steps, 0, -1))
        levels = (schedule.leaned(share) for share in shares)
        return [*dict.fromkeys(max(round(level * total) - 1, 0) for level in levels)]

    def _prepend(self, timesteps: Tensor, more: Tensor) -> Tensor:
        """``timesteps`` after the higher ones of ``more``."""
        return torch.cat([more, timesteps])


def _clean(noisy: Tensor, epsilon: Tensor, signal: Tensor) -> Tensor:
    """What is left of ``noisy`` without the noise; ``signal`` is its share of the variance."""
    return (noisy - (1.0 - signal).sqrt() * epsilon) / signal.clamp(min=_FAINT).sqrt()


@SAMPLERS.register_module()
class PLMSSampler(EpsilonSampler):
    """Pseudo linear multistep (arXiv 2202.09778) without its Runge-Kutta warm-up, as CompVis's PLMS
    (METHODS.md 4.5): diffusers' ``PNDMScheduler(skip_prk_steps=True)``.
    """

    def fit(self, noise_schedule) -> None:
        super().fit(noise_schedule)
        if self.timestep_spacing == "training":
            raise ValueError(
                "PLMSSampler steps evenly: timestep_spacing='training' is DDIMSampler's"
            )
        if noise_schedule.zero_terminal_snr:
            raise ValueError("PLMSSampler has no zero_terminal_snr: use DDIMSampler or DDPMSampler")

    def scheduler(self):
        from diffusers import PNDMScheduler

        return self._set(PNDMScheduler(skip_prk_steps=True, **self._betas()))

    def _prepend(self, timesteps: Tensor, more: Tensor) -> Tensor:
        """PLMS asks twice at its second timestep: the one that was its first, or of ``more``."""
        once = torch.cat([more, timesteps[:1], timesteps[2:]])
        return torch.cat([once[:2], once[1:]])


@SAMPLERS.register_module()
class DDIMSampler(EpsilonSampler):
    """DDIM (arXiv 2010.02502).

    Args:
        eta: 0 draws no noise on the way, 1 as much as DDPM.
        (others): see :class:`EpsilonSampler`.
    """

    def __init__(
        self,
        *,
        eta: float = 0.0,
        num_steps: int = 50,
        timestep_spacing: str = "leading",
        guidance_scale: float = 1.0,
        guidance_rescale: float = 0.0,
        start: str = "noise",
        average: int = 1,
    ) -> None:
        super().__init__(
            num_steps=num_steps,
            timestep_spacing=timestep_spacing,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            start=start,
            average=average,
        )
        if eta and timestep_spacing == "training":
            raise ValueError(
                f"eta={eta} with timestep_spacing='training': 0 is needed, or a DDPMSampler"
            )
        self.eta = eta

    def scheduler(self):
        from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

        if self.timestep_spacing == "training":  # at first order DDIM, at any timesteps
            settings = dict(solver_order=1, final_sigmas_type="sigma_min") | self._terminal()
            return self._set(DPMSolverMultistepScheduler(**settings, **self._betas()))
        settings = self._betas() | self._terminal()
        return self._set(DDIMScheduler(clip_sample=False, set_alpha_to_one=False, **settings))

    def step_arguments(self, generators: list[torch.Generator] | None) -> dict:
        if self.timestep_spacing == "training":
            return {}
        return dict(eta=self.eta, generator=generators if self.eta else None)


@SAMPLERS.register_module()
class DDPMSampler(EpsilonSampler):
    """Ancestral sampling (arXiv 2006.11239); the noise of each step comes from the pair's own
    generator.
    """

    def scheduler(self):
        from diffusers import DDPMScheduler

        return self._set(DDPMScheduler(clip_sample=False, **self._betas(), **self._terminal()))

    def step_arguments(self, generators: list[torch.Generator] | None) -> dict:
        return dict(generator=generators)
