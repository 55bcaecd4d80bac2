"""A picture on its way: how many steps there will be, what it looks like so far, how to stop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vtonlab.apis.inferencer import TryOnInferencer
from vtonlab.models.results import to_uint8

LONGEST = 64  # latents along a side that a preview decodes


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """Somebody asked to stop; raised between two steps."""


class Usual(NamedTuple):
    """How a model draws where nothing else is said.

    Args:
        num_steps: of the sampler.
        guidance_scale: of the sampler; 1 is none.
        guidable: whether it can be guided at all.
    """

    num_steps: int
    guidance_scale: float
    guidable: bool


def usual(inferencer: TryOnInferencer) -> Usual:
    """The settings of a model's own config."""
    sampler = inferencer.model.sampler
    guidable = bool(inferencer.model.condition_dropout or inferencer.model.conditioner.dropouts)
    return Usual(sampler.num_steps, float(sampler.guidance_scale), guidable)


def calls(inferencer: TryOnInferencer, num_steps: int) -> int:
    """How often a callback is called while one batch is drawn in ``num_steps``.

    Raises:
        ValueError: a number of steps that the sampler has not.
    """
    sampler = inferencer.model.sampler
    with sampler.changed(num_steps):
        return sampler.calls


@torch.no_grad()
def preview(
    inferencer: TryOnInferencer, latents: Tensor, longest: int = LONGEST
) -> list[np.ndarray]:
    """What a callback's ``latents`` or ``clean`` look like, one (h, w, 3) uint8 picture a pair.

    The person alone is decoded, and no more than ``longest`` latents a side, averaged down: cheap
    beside a step of the network, and for looking only.
    """
    model = inferencer.model
    person = model.conditioner.person_latents(model.conditioner.finish(latents))
    factor = -(-max(person.shape[-2:]) // longest)
    if factor > 1:
        person = F.avg_pool2d(person.float(), factor)
        height, width = (side // 2 * 2 for side in person.shape[-2:])  # some codecs fold by two
        person = person[..., :height, :width]
    return list(to_uint8(model.decode(person), model.picture_rounding))


def watching(
    on_step: Callable[[int, np.ndarray], None], should_stop: Callable[[], bool]
) -> Callable[..., None]:
    """A ``callback_on_step_end`` that shows each step, or ends the drawing.

    Args:
        on_step: is told how many steps are done, and shown the first pair so far.
        should_stop: is asked after each step.

    Raises:
        Stopped: by the callback, where ``should_stop`` says so.
    """
    done = 0

    def callback(inferencer: TryOnInferencer, step: int, timestep: Any, kept: dict) -> None:
        nonlocal done
        done += 1
        on_step(done, preview(inferencer, kept["clean"])[0])
        if should_stop():
            raise Stopped

    return callback
