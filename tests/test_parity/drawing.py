"""Try-on models of recorded size, and their ``predict`` with recorded noise in place of drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from vtonlab.models import TryOnDiffusion


def tensors(weights: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {key: torch.from_numpy(value) for key, value in weights.items()}


def batch_of(inputs: dict[str, np.ndarray], **more: np.ndarray) -> dict:
    """One pair, collated: pictures (1, 3, H, W) uint8, the mask (1, 1, H, W)."""
    arrays = {
        k: inputs[k] for k in ("person", "garment", "pose", "mask", "worn_mask") if k in inputs
    }
    batch: dict = dict(id=["a"], garment_id=["b"], category=["upper_body"], index=[0])
    batch["position"] = torch.tensor([0])
    for key, value in (arrays | more).items():
        value = torch.from_numpy(np.ascontiguousarray(value))[None]
        batch[key] = value[:, None] if value.ndim == 3 else value.permute(0, 3, 1, 2)
    return batch


class Recorded:
    """Watches a model draw one picture.

    Attributes:
        inputs, outputs: of the backbone, each call (with a reference UNet's apart).
        latents: after each sampler step.
    """

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.latents: list[Tensor] = []


@contextmanager
def recorded_noise(
    model: TryOnDiffusion,
    *,
    start: np.ndarray,
    steps: np.ndarray | None = None,
    posterior: list[np.ndarray] = (),
) -> Iterator[Recorded]:
    """While open, ``model`` draws what is given, and is watched.

    Args:
        start: noise it starts from.
        steps: noise of each sampler step.
        posterior: noise of each encoding, in the order in which the model encodes.
    """
    posterior = iter(map(torch.from_numpy, posterior))
    steps = iter(map(torch.from_numpy, () if steps is None else steps))
    found = Recorded()
    handle = model.backbone.register_forward_hook(
        lambda module, args, output: (
            (
                found.inputs.append(args[0].clone()),
                found.outputs.append(output[0].clone()),
            )
            and None
        )
    )
    make = model.sampler.scheduler

    def watched():
        scheduler = make()
        step = scheduler.step

        def stepped(*args, **kwargs):
            result = step(*args, **kwargs)
            found.latents.append(result[0].clone())
            return result

        scheduler.step = stepped
        return scheduler

    ddpm, ddim = (f"diffusers.schedulers.scheduling_{n}.randn_tensor" for n in ("ddpm", "ddim"))

    def step_noise(*_, **__):
        return next(steps)

    with (
        patch("vtonlab.models.try_on_diffusion.draw_noise", lambda *_: torch.from_numpy(start)),
        patch("vtonlab.models.posterior.draw_noise", lambda *_: next(posterior)),
        patch.object(model.sampler, "scheduler", watched),
        patch(ddpm, step_noise),
        patch(ddim, step_noise),
    ):
        yield found
    handle.remove()


def guided_pair(calls: list[Tensor]) -> Tensor:
    """What the first step's network calls saw or said, as the authors order it: unconditional,
    then conditional. Ours are in one call or in two, conditional first.
    """
    both = calls[0] if len(calls[0]) == 2 else torch.cat(calls[:2])
    return both.flip(0)


def difference(ours, theirs) -> float:
    """Largest absolute difference of two pictures or tensors."""
    ours, theirs = (np.asarray(value, np.float64) for value in (ours, theirs))
    return float(np.abs(ours - theirs).max())
