"""Latents that were encoded before training, in place of the codec's encoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vtonlab.backbones.codec import encode_pictures
from vtonlab.matchers.base import weights_version
from vtonlab.structures.latent_store import CachedLatents, check_made_by
from vtonlab.structures.pair_store import plain_settings

STAGES = ("target", "prepare")  # of a conditioner, in which it may encode


def made_by(codec: Mapping, conditioner: Mapping, preprocessor: Mapping | None = None) -> dict:
    """What latents depend on besides the data: settings of these, and the codec's weights.

    Weights of a local folder are hashed, so that other weights under one name are other latents.
    Text does not count.

    Raises:
        ValueError: a codec with drawn weights, whose latents nobody could draw again.
    """
    codec = plain_settings(codec)
    if "path" not in codec and codec["type"] != "SpaceToDepthCodec":
        raise ValueError(
            f"latents of a {codec['type']} without trained weights cannot be kept: build the codec "
            'with dict(type="from_pretrained", ...)'
        )
    weights = "none"
    if codec.get("path"):
        weights = weights_version(Path(codec["path"]) / (codec.get("subfolder") or ""))
    left = ("prompt", "training_guidance_scale")
    settings = {k: v for k, v in plain_settings(conditioner).items() if k not in left}
    made = {"codec": codec, "codec_weights": weights, "conditioner": settings}
    agnostic = (preprocessor or {}).get("agnostic", "given")
    return made if agnostic == "given" else made | {"agnostic": agnostic}


def record(conditioner: nn.Module, codec: nn.Module, batch: dict) -> list[dict[str, Tensor]]:
    """Every encoding that ``conditioner`` asks for in training, for each sample of a preprocessed
    batch: call -> (K, C, h, w).
    """
    count, calls = len(batch["id"]), {}
    with torch.no_grad():
        for stage in STAGES:
            numbers = iter(range(1000))

            def encode(pictures: Tensor, stage=stage, numbers=numbers) -> Tensor:
                latents = encode_pictures(codec, pictures)
                split = latents.unflatten(0, (-1, count))  # (K, B, C, h, w)
                calls[f"{stage}.{next(numbers)}"] = split.transpose(0, 1)
                return latents

            getattr(conditioner, stage)(batch, encode)
    return [{name: value[n] for name, value in calls.items()} for n in range(count)]


class CachedEncoder:
    """Called like the encoder, in the same order, it gives what was stored.

    Args:
        latents: of the batch.
        stage: ``target`` or ``prepare``.
        wanted: `made_by` of the model that asks.

    Raises:
        ValueError: another codec, conditioner or order of calls made them.
    """

    def __init__(self, latents: Sequence[CachedLatents], stage: str, wanted: Mapping) -> None:
        for sample in latents:
            check_made_by(sample, wanted)
        self.latents, self.stage, self.number = latents, stage, 0

    def __call__(self, pictures: Tensor) -> Tensor:
        name = f"{self.stage}.{self.number}"
        self.number += 1
        if name not in self.latents[0].calls:
            raise ValueError(
                f"the cached latents have no call {name}, only {sorted(self.latents[0].calls)}: "
                "this code's conditioner encodes otherwise; make them again"
            )
        found = torch.stack([sample.calls[name] for sample in self.latents], dim=1)  # (K, B, ...)
        if found.shape[0] * found.shape[1] != pictures.shape[0]:
            raise ValueError(f"cached call {name} is {tuple(found.shape)} for {pictures.shape[0]}")
        return found.flatten(0, 1).to(pictures.device)
