"""What every sampler shares: which noise schedules it fits, where it starts, and guidance."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from torch import Tensor

from vtonlab.registry import NOISE_SCHEDULES

Callback = Callable[[int, Tensor, dict], Mapping | None]  # step, timestep, see `after_step`
Predict = Callable[[Tensor, Tensor], Tensor]  # (latents (B, ...), sigmas (B,)) -> like latents
STARTS = ("noise", "agnostic", "photograph")


class DiffusionSampler:
    """Base of all samplers.

    Args:
        guidance_scale: classifier-free guidance; 1 or less asks the network once a step, without.
        guidance_rescale: share in [0, 1] of the guided prediction that is brought back to the
            spread of the conditional one (arXiv 2305.08891, 3.4); more than 1 extrapolates, as
            Leffa's release does.
        start: where sampling starts: ``"noise"``, or latents noised to the last step of the
            schedule: of the ``"agnostic"`` person (SIFT-VTON's option), or of the ``"photograph"``
            as StableVITON's program does. **The photograph is a leak**: in the paired setting it
            is the answer, and 7 % of its contrast are left in the noise. A warning says so.
        average: pictures of one pair, each from noise of its own, whose mean (of latents) is the
            answer, at as many times the cost. A picture that is sampled in many steps is one guess
            of what may be there: sharp, and further from the truth than the mean of all guesses, by
            any error of pixels. Use 1 for pictures to look at.

    Raises:
        ValueError: a setting outside its range.
    """

    # those it can sample from, as configs name them, or classes; their subclasses too
    noise_schedules: tuple[str | type, ...] = ()

    def __init__(
        self,
        *,
        guidance_scale: float = 1.0,
        guidance_rescale: float = 0.0,
        start: str = "noise",
        average: int = 1,
    ) -> None:
        if average < 1:
            raise ValueError(f"average={average}: at least one picture is needed")
        if average > 1 and start != "noise":
            raise ValueError(f"average={average} needs start='noise': else all pictures are one")
        self.average = average
        if start not in STARTS:
            raise ValueError(f"start={start!r}: choose one of {', '.join(STARTS)}")
        if guidance_scale < 0:
            raise ValueError(f"guidance_scale={guidance_scale}: 1 for none, usually 1.5 to 5")
        if start == "photograph":
            print_log(
                "start='photograph' is a leak: sampling starts from a trace of the paired answer. "
                "Use it to repeat StableVITON's program, not for numbers of your own",
                level=logging.WARNING,
            )
        self.guidance_scale, self.guidance_rescale = guidance_scale, guidance_rescale
        self.start = start
        self._callback: Callback | None = None

    @property
    def guided(self) -> bool:
        """Whether a second, unconditional prediction is needed at each step."""
        return self.guidance_scale > 1.0

    @property
    def calls(self) -> int:
        """How often a callback is called for one batch."""
        return self.num_steps * self.average

    def fit(self, noise_schedule) -> None:
        """Take the noise schedule of the model.

        Raises:
            ValueError: this sampler cannot sample from it.
        """
        found = [NOISE_SCHEDULES.get(n) if isinstance(n, str) else n for n in self.noise_schedules]
        if not isinstance(noise_schedule, tuple(each for each in found if each is not None)):
            names = [n if isinstance(n, str) else n.__name__ for n in self.noise_schedules]
            raise ValueError(
                f"{type(self).__name__} cannot sample a model trained with "
                f"{type(noise_schedule).__name__}: it fits {', '.join(names)} and subclasses"
            )
        self.noise_schedule = noise_schedule

    @contextmanager
    def changed(
        self,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        callback: Callback | None = None,
    ) -> Iterator[None]:
        """While open, other settings (None keeps one), and ``callback`` after each step, whose
        ``latents``, if it returns some, take the place of those it was shown.

        Raises:
            ValueError: a setting outside its range.
        """
        if num_steps is not None and num_steps < 1:
            raise ValueError(f"num_steps={num_steps}: at least one step is needed")
        if guidance_scale is not None and guidance_scale < 0:
            raise ValueError(f"guidance_scale={guidance_scale}: 1 for none, usually 1.5 to 5")
        own = self.num_steps, self.guidance_scale, self._callback
        self.num_steps = own[0] if num_steps is None else num_steps
        self.guidance_scale = own[1] if guidance_scale is None else guidance_scale
        self._callback = callback
        try:
            yield
        finally:
            self.num_steps, self.guidance_scale, self._callback = own

    def after_step(
        self, step: int, timestep: Tensor, latents: Tensor, clean: Callable[[], Tensor]
    ) -> Tensor:
        """Latents as a callback leaves them; samplers call it at the end of each step.

        The callback sees ``latents``, and as ``clean`` what the network takes them to become: a
        picture to look at long before the noise is gone.
        """
        if self._callback is None:
            return latents
        kept = {"latents": latents, "clean": clean()}
        return (self._callback(step, timestep, kept) or {}).get("latents", latents)

    def guide(self, both: Predict) -> Predict:
        """The guided prediction: :func:`guide` at this sampler's scale.

        Args:
            both: answers latents of twice the batch in one call, its first half with the garment,
                its second without.
        """

        def predict(latents: Tensor, sigmas: Tensor) -> Tensor:
            answer = both(torch.cat([latents, latents]), torch.cat([sigmas, sigmas]))
            with_garment, without = answer.chunk(2)
            return guide(with_garment, without, self.guidance_scale, self.guidance_rescale)

        return predict

    def __call__(
        self,
        predict: Predict,
        latents: Tensor,
        sequence_length: int,
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """From noisy ``latents`` (B, ...) at the highest level to clean ones of the same shape.

        Args:
            predict: what the noise schedule's ``prediction`` answers at latents and levels (B,).
            latents: where to start.
            sequence_length: image tokens, for schedules that depend on it.
            generators: one for each sample, for samplers that draw noise on the way.
        """
        raise NotImplementedError


def guide(conditional: Tensor, unconditional: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """``u + scale (c - u)``, then a share ``rescale`` of it brought to the standard deviation of c
    within each sample (arXiv 2305.08891 eq. 15, 16).
    """
    guided = unconditional + scale * (conditional - unconditional)
    if rescale == 0.0:
        return guided
    dims = list(range(1, guided.ndim))
    ratio = conditional.std(dims, keepdim=True) / guided.std(dims, keepdim=True)
    return guided * (rescale * ratio + (1.0 - rescale))
