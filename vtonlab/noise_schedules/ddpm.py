"""Variance-preserving noising in discrete steps, as Stable Diffusion was trained."""

import numpy as np
import torch
from torch import Tensor

from vtonlab.registry import NOISE_SCHEDULES
from vtonlab.utils.upload import upload

PREDICTIONS = ("epsilon", "clean")


@NOISE_SCHEDULES.register_module()
class DDPMSchedule:
    """``z_t = sqrt(a_t) z_0 + sqrt(1 - a_t) eps`` with epsilon target (Stable Diffusion, METHODS.md
    4.4).

    A noise level is ``s = t / num_timesteps`` with integer t from 0 to ``num_timesteps - 1``, so
    that gates and networks read t on the 0..1000 scale of every schedule.

    Args:
        num_timesteps: steps of the chain.
        beta_start, beta_end: ends of the betas, which are linear in their square root.
        zero_terminal_snr: rescale the betas so that the last step is noise alone (arXiv 2305.08891,
            algorithm 1; Leffa's released pose transfer). Not with PLMS.
        snr_gamma: min-SNR weight ``min(SNR, gamma) / SNR`` of a sample's loss (arXiv 2303.09556, 5
            in SIFT-VTON); None weighs all noise levels alike (StableVITON, Leffa).
        snr_reduction: ``"sample"`` weighs each sample's loss by its own weight; ``"batch"``
            multiplies the mean loss by the mean weight, as SIFT-VTON's released code does
            (METHODS.md B3).
        network_predicts: what the network's output is read as: ``"epsilon"``, or ``"clean"``, from
            which epsilon follows; for small networks on pixels.
        shift: leans the drawn levels to the noisy end: ``s -> shift s / (1 + (shift - 1) s)``.

    Raises:
        ValueError: a setting outside its range.
    """

    def __init__(
        self,
        *,
        num_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        zero_terminal_snr: bool = False,
        snr_gamma: float | None = None,
        snr_reduction: str = "sample",
        network_predicts: str = "epsilon",
        loss_on: str = "epsilon",
        shift: float = 1.0,
    ) -> None:
        if not 0 < beta_start <= beta_end < 1:
            raise ValueError(f"betas from {beta_start} to {beta_end}: 0 < start <= end < 1 needed")
        if snr_gamma is not None and snr_gamma <= 0:
            raise ValueError(f"snr_gamma={snr_gamma}: a positive number, or None for no weighting")
        if snr_reduction not in ("sample", "batch"):
            raise ValueError(f"snr_reduction={snr_reduction!r}: 'sample' or 'batch'")
        if network_predicts not in PREDICTIONS:
            raise ValueError(f"network_predicts={network_predicts!r}: one of {PREDICTIONS}")
        if loss_on not in PREDICTIONS or (loss_on == "clean" and network_predicts != "clean"):
            raise ValueError(
                f"loss_on={loss_on!r} with network_predicts={network_predicts!r}: 'epsilon', or "
                "'clean' for a network that predicts 'clean'"
            )
        if not 1e-3 <= shift <= 1e3:
            raise ValueError(f"shift={shift}: a number within [0.001, 1000] is needed")
        self.num_timesteps, self.beta_start, self.beta_end = num_timesteps, beta_start, beta_end
        self.snr_gamma, self.snr_reduction = snr_gamma, snr_reduction
        self.network_predicts, self.loss_on, self.shift = network_predicts, loss_on, shift
        self.zero_terminal_snr = zero_terminal_snr
        betas = np.linspace(beta_start**0.5, beta_end**0.5, num_timesteps, dtype=np.float64) ** 2
        alphas = np.cumprod(1.0 - betas)
        if zero_terminal_snr:
            signal = np.sqrt(alphas)
            signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
            alphas = np.square(signal)
        self.alphas_cumprod = torch.from_numpy(alphas)  # (T,) float64
        self._alphas_on: dict[torch.device, Tensor] = {}

    def draw(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Noise levels t / T in [0, 1), of that ``shape`` (one, a scalar), on the CPU."""
        level = self.leaned(torch.rand(shape, generator=generator))
        return (level * self.num_timesteps).floor().clamp(max=self.num_timesteps - 1) / (
            self.num_timesteps
        )

    def leaned(self, level):
        """An evenly drawn level in [0, 1] where training has it: nearer to the noisy end."""
        return self.shift * level / (1 + (self.shift - 1) * level)

    def timesteps(self, sigmas: Tensor) -> Tensor:
        """Noise levels on the 0..1000 scale that gates and networks of the diffusion family use."""
        return self._index(sigmas).to(sigmas.dtype) * (1000.0 / self.num_timesteps)

    def add_noise(self, clean: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
        """``clean`` and ``noise`` (B, ...), ``sigmas`` (B,)."""
        signal, spread = self._rates(sigmas, clean)
        return signal * clean + spread * noise

    def residual(self, output: Tensor, clean: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
        """Error of the epsilon (or see ``loss_on``) that ``output`` stands for; its weighted mean
        square is the loss.
        """
        if self.loss_on == "clean":
            return output - clean
        if self.network_predicts == "epsilon":
            return output - noise
        signal, spread = self._rates(sigmas, clean)
        return (clean - output) * (signal / spread)

    def loss_weights(self, sigmas: Tensor) -> Tensor | None:
        """Weight of each sample's mean squared residual, ``(B,)``; None where all are 1."""
        if self.snr_gamma is None:
            return None
        alphas = self._alphas(sigmas)
        snr = alphas / (1 - alphas)
        weights = (self.snr_gamma / snr.clamp(min=self.snr_gamma)).float()  # 1 where no signal is
        if self.snr_reduction == "batch":
            return weights.mean().expand_as(weights)
        return weights

    def prediction(self, output: Tensor, noisy: Tensor, sigmas: Tensor) -> Tensor:
        """The epsilon, which samplers step on, that ``output`` on ``noisy`` stands for."""
        if self.network_predicts == "epsilon":
            return output
        signal, spread = self._rates(sigmas, noisy)
        return (noisy - signal * output) / spread

    def _index(self, sigmas: Tensor) -> Tensor:
        last = self.num_timesteps - 1
        return (sigmas * self.num_timesteps).round().long().clamp(0, last)

    def _alphas(self, sigmas: Tensor) -> Tensor:
        if sigmas.device not in self._alphas_on:
            self._alphas_on[sigmas.device] = upload(self.alphas_cumprod, sigmas.device)
        return self._alphas_on[sigmas.device][self._index(sigmas)]

    def _rates(self, sigmas: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """``sqrt(a_t)`` and ``sqrt(1 - a_t)``, shaped to multiply ``like``."""
        alphas = self._alphas(sigmas).reshape(-1, *[1] * (like.ndim - 1))
        return alphas.sqrt().to(like.dtype), (1 - alphas).sqrt().to(like.dtype)
