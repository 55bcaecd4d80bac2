"""Garment and person in the self-attention of a UNet, joined along the sequence.

``reference="unet"`` (Leffa, METHODS.md 3.1): a second UNet, a copy of the first, reads the clean
garment; its features join every self-attention of the generative UNet. ``reference="self"``
(CatVTON): one UNet denoises person and garment stacked in one canvas, person above garment.

=================  ==========================  =====================================
channels           person                      garment half (``reference="self"``)
=================  ==========================  =====================================
noisy latents      noised person               noised garment
``mask``           1 = to be generated         0
``agnostic``       latents of the agnostic     latents of the clean garment
``pose``           pose picture, not encoded   0
``pose_latents``   latents of the pose picture 0
=================  ==========================  =====================================
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.attention import AttentionRecorder
from vtonlab.attention.layers import grid_scale
from vtonlab.attention.reference import (
    freeze_after_last_attention,
    read_reference,
    remove_text,
    write_reference,
)
from vtonlab.backbones.families import family_of
from vtonlab.backbones.input_channels import fit_input_channels
from vtonlab.conditioners.base import Conditioner, Encode, Prediction
from vtonlab.registry import CONDITIONERS
from vtonlab.structures import AttentionRecord

INPUTS = ("mask", "agnostic", "pose", "pose_latents")
PAPERS = INPUTS[:3]


@CONDITIONERS.register_module()
class SpatialConcatConditioner(Conditioner):
    """Spatial concatenation on diffusers' ``UNet2DConditionModel`` (SD-1.5, SDXL).

    The backbone's ``conv_in`` is fitted to the inputs (12 channels for all three with a VAE of
    four), text is taken out, and for ``reference="unet"`` a copy of the backbone becomes the
    reference UNet; both train.

    Args:
        reference: ``"unet"`` or ``"self"``.
        inputs: what the network sees beside the noisy latents, in channel order: any of ``mask``,
            ``agnostic``, ``pose`` (as Leffa does) and ``pose_latents`` (ours: a body's outline
            finer than a latent pixel, at as many channels as latents have).
        cross_attention: ``"skip"`` removes text cross-attention; ``"residual"`` adds the normed
            input instead, which released weights were trained with.
        reference_timestep: the reference UNet runs at this timestep (0..1000), so that sampling
            runs it once; None runs it at the timestep of the generative UNet.

    Raises:
        ValueError: an unknown choice, or one that does not fit ``reference``.
    """

    def __init__(
        self,
        *,
        reference: str = "unet",
        inputs: Sequence[str] = PAPERS,
        cross_attention: str = "skip",
        reference_timestep: float | None = None,
    ) -> None:
        super().__init__()
        _check("reference", reference, ("unet", "self"))
        _check("cross_attention", cross_attention, ("skip", "residual"))
        for name in inputs:
            _check("inputs", name, INPUTS)
        if not inputs:
            raise ValueError(f"inputs is empty: name at least one of {', '.join(INPUTS)}")
        if reference == "self" and "agnostic" not in inputs:
            raise ValueError(
                "reference='self' shows the garment beside 'agnostic': add it to inputs"
            )
        if reference == "self" and reference_timestep is not None:
            raise ValueError("reference_timestep is for reference='unet': leave it None")
        self.inputs, self.cross_attention = tuple(inputs), cross_attention
        self.shows_garment_beside = reference == "self"
        self.reference_timestep = reference_timestep
        self.reference_unet: nn.Module | None = None  # once attached, for reference="unet"

    def attach(self, backbone: nn.Module) -> None:
        """Fit the backbone's inputs, take text out, and copy the reference UNet from it.

        Raises:
            ValueError: the backbone is of no family of UNets.
        """
        family_of(backbone, "unet", type(self).__name__)
        latent = backbone.config.out_channels
        remove_text(backbone, form=self.cross_attention)
        if not self.shows_garment_beside:
            self.reference_unet = copy.deepcopy(backbone)
            fit_input_channels(self.reference_unet, latent)
            freeze_after_last_attention(self.reference_unet)
            write_reference(self.reference_unet)
            read_reference(backbone)
        fit_input_channels(backbone, latent + sum(_channels(latent, name) for name in self.inputs))

    @property
    def needs(self) -> tuple[str, ...]:
        """Maps of the person that the network is shown."""
        return tuple(dict.fromkeys(name.removesuffix("_latents") for name in self.inputs))

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the reference UNet's blocks in the backward pass too."""
        if self.reference_unet is not None:
            self.reference_unet.enable_gradient_checkpointing()

    def target(self, batch: dict, encode: Encode) -> Tensor:
        """Latents (B, C, h, w) of the person in the garment; (B, C, 2h, w) with the garment below
        it for ``reference="self"``.
        """
        person = encode(batch.get("target", batch["person"]))
        if not self.shows_garment_beside:
            return person
        return torch.cat([person, encode(batch["garment"])], dim=2)

    def prepare(self, batch: dict, encode: Encode) -> dict[str, Any]:
        """``given`` (B, C', h, w), or (B, C', 2h, w) with the garment half, and ``garment``
        latents.
        """
        garment = encode(batch["garment"])
        size = garment.shape[-2:]
        parts = {
            "mask": lambda: F.interpolate(batch["mask"], size=size).to(garment.dtype),
            "agnostic": lambda: encode(batch["agnostic"]),
            "pose": lambda: F.interpolate(batch["pose"], size=size).to(garment.dtype),
            "pose_latents": lambda: encode(batch["pose"]),
        }
        given = {name: parts[name]() for name in self.inputs}
        if self.shows_garment_beside:
            beside = {name: torch.zeros_like(part) for name, part in given.items()}
            beside["agnostic"] = garment
            given = {name: torch.cat([given[name], beside[name]], dim=2) for name in given}
        return {"given": torch.cat(list(given.values()), dim=1), "garment": garment}

    def blank(self, conditions: dict[str, Any]) -> Tensor:
        """The garment's latents, twice for ``reference="self"``."""
        garment = conditions["garment"]
        return torch.cat([garment, garment], dim=2) if self.shows_garment_beside else garment

    def drop(self, conditions: dict[str, Any], dropped: Tensor) -> dict[str, Any]:
        """Zeros in place of the garment's latents for the samples of ``dropped`` (B,) bool."""
        kept = (~dropped).to(conditions["garment"].dtype)[:, None, None, None]
        garment, given = conditions["garment"] * kept, conditions["given"]
        if self.shows_garment_beside:
            latent = garment.shape[1]
            before = self.inputs[: self.inputs.index("agnostic")]
            first = sum(_channels(latent, name) for name in before)
            given = given.clone()
            given[:, first : first + latent, given.shape[2] // 2 :] = garment
        return {"given": given, "garment": garment}

    def unconditional(self, conditions: dict[str, Any]) -> dict[str, Any]:
        """Zeros in place of the garment's latents."""
        batch = len(conditions["garment"])
        dropped = torch.ones(batch, dtype=torch.bool, device=conditions["garment"].device)
        return self.drop(conditions, dropped)

    def forward(
        self,
        backbone: nn.Module,
        noisy: Tensor,
        sigmas: Tensor,
        conditions: dict[str, Any],
        layers: Sequence[str] = (),
    ) -> Prediction:
        """The backbone's answer on ``noisy`` at timestep ``1000 * sigmas``; person queries and
        garment keys in records, the person's own keys as context.
        """
        family = family_of(backbone, "unet", type(self).__name__)
        features = None
        if self.reference_unet is not None:
            features = self._features(sigmas, conditions)
        streams = torch.cat([noisy, conditions["given"]], dim=1)

        def run() -> Tensor:
            kwargs = None if features is None else {"reference": features}
            return family.unet(backbone, streams, sigmas, None, kwargs)

        if not layers:
            return Prediction(run())
        to_record = self._record_builder(backbone, conditions["garment"].shape[-2:])
        with AttentionRecorder(backbone, layers=layers, to_record=to_record) as recorder:
            sample = run()
        return Prediction(sample, recorder.records)

    def person_latents(self, latents: Tensor) -> Tensor:
        """``(B, C, h, w)``: all, or the upper half for ``reference="self"``."""
        return latents[:, :, : latents.shape[2] // 2] if self.shows_garment_beside else latents

    def sequence_length(self, conditions: dict[str, Any]) -> int:
        """Latent pixels that are generated."""
        return conditions["given"].shape[-2] * conditions["given"].shape[-1]

    def _features(self, sigmas: Tensor, conditions: dict[str, Any]) -> dict[str, Tensor]:
        """Inputs (B, N, C) of the reference UNet's self-attentions; kept in ``conditions`` where
        they stay the same over the steps.
        """
        if self.reference_timestep is None:
            return self._read(sigmas, conditions["garment"])
        if torch.is_grad_enabled() or "features" not in conditions:
            fixed = torch.full_like(sigmas, self.reference_timestep / 1000.0)
            features = self._read(fixed, conditions["garment"])
            if torch.is_grad_enabled():
                return features
            conditions["features"] = features
        return conditions["features"]

    def _read(self, sigmas: Tensor, garment: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = {}
        family = family_of(self.reference_unet, "unet", type(self).__name__)
        family.unet(self.reference_unet, garment, sigmas, None, {"reference": features})
        return features

    def _record_builder(self, backbone: nn.Module, latent_size: Sequence[int]):
        """Index maps: person tokens come first, garment tokens after them."""

        def to_record(
            name: str, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
        ) -> AttentionRecord:
            grid = _grid(backbone, name, latent_size)
            person = grid[0] * grid[1]
            if key.shape[2] != 2 * person:
                raise ValueError(
                    f"layer {name!r} sees {key.shape[2]} tokens, not person and garment of "
                    f"{grid[0]}x{grid[1]}: choose a picture size that the UNet can halve evenly"
                )
            return AttentionRecord(
                name=name,
                query=query[:, :, :person],  # (B, H, N, D)
                key=key[:, :, person:],  # (B, H, N, D)
                query_grid=grid,
                key_grid=grid,
                scale=scale,
                context_key=key[:, :, :person],
                key_mask=None if mask is None else mask[:, person:],
                context_mask=None if mask is None else mask[:, :person],
            )

        return to_record


def _channels(latent: int, name: str) -> int:
    """Of one input, for latents of ``latent`` channels."""
    return {"mask": 1, "pose": 3}.get(name, latent)


def _grid(backbone: nn.Module, name: str, latent_size: Sequence[int]) -> tuple[int, int]:
    """Token grid of a layer: the latents' size, halved (rounded up) at every level."""
    height, width = latent_size
    for _ in range(round(1 / grid_scale(backbone, name)).bit_length() - 1):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


def _check(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: choose among {', '.join(allowed)}")
