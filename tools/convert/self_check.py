"""What every converter ends with: the converted model called once, its answer finite, in numbers.

A key can have its place and its shape and still be the wrong one. Random input cannot show that the
picture is right; it shows weights that were never filled, overflow, and a scale that is far off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def statistics(what: str, value: Tensor) -> str:
    """One line about an output.

    Raises:
        ValueError: it is not finite.
    """
    value = value.detach().float()
    if not bool(value.isfinite().all()):
        raise ValueError(
            f"self-check: {what} is not finite: the source is damaged, or of another model"
        )
    return (
        f"self-check: {what} {'x'.join(map(str, value.shape))}: mean {value.mean():.3g}, "
        f"deviation {value.std():.3g}, largest {value.abs().max():.3g}"
    )


def check_try_on(model: nn.Module, state: Mapping[str, Tensor], side: int = 64) -> list[str]:
    """Call VAE and network of a ``TryOnDiffusion`` once, on random input of ``side`` pixels.

    Args:
        model: built on the meta device.
        state: its weights, all of them; the model keeps them, in float32.

    Returns:
        Lines to print.

    Raises:
        ValueError: something is not finite.
    """
    import torch

    with torch.no_grad():
        return _called(model, state, side)


def _called(model: nn.Module, state: Mapping[str, Tensor], side: int) -> list[str]:
    import torch

    from vtonlab.backbones.codec import encode_pictures, unscale_latents, weights_dtype

    names = {name for name, _ in model.named_parameters()}
    weights = {name: tensor.float() for name, tensor in state.items() if name in names}
    model.load_state_dict(weights, strict=False, assign=True)
    model.eval()
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(1, 3, side, side, generator=generator) * 2 - 1
    latents = encode_pictures(model.codec, pictures)
    lines = [statistics("latents of noise", latents)]
    batch = {"mask": torch.ones(1, 1, side, side), "person": pictures, "garment": pictures}
    batch |= {"agnostic": pictures * 0, "pose": pictures, "category": ["upper_body"]}
    conditions = given_conditions(model.conditioner, batch, model.encode)
    noise = torch.randn(model.conditioner.target(batch, model.encode).shape, generator=generator)
    prediction = model.conditioner(model.backbone, noise, torch.tensor([0.5]), conditions).sample
    lines.append(statistics("noise that the network predicts at t = 500", prediction))
    decoded = model.codec.decode(
        unscale_latents(model.codec, latents).to(weights_dtype(model.codec))
    )
    return [*lines, statistics("the decoded latents", decoded.sample)]


def given_conditions(conditioner: nn.Module, batch: dict, encode) -> dict:
    """``prepare``'s answer; a CLIP whose constants were left on the meta device is not asked."""
    import torch

    if not hasattr(conditioner, "image_encoder"):
        return conditioner.prepare(batch, encode)
    garment = encode(batch["garment"])
    channels = [1 if name == "mask" else garment.shape[1] for name in conditioner.inputs]
    given = garment.new_zeros(1, sum(channels), *garment.shape[-2:])
    width = conditioner.image_encoder.proj_out.in_features
    return {"given": given, "garment": garment, "clip": torch.ones(1, 1, width), "dropped": None}
