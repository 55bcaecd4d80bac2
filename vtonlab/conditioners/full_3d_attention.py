"""Garment, person and pose as panels of one sequence, under full ("3D") attention.

Three panels of equal size stand side by side, ``[garment | person | pose]`` (METHODS.md 1.2):

========================  =====================  ===========================  ==================
stream                    garment panel          person panel                 pose panel
========================  =====================  ===========================  ==================
noisy latents             noised garment         noised person                **clean** pose
canvas                    clean garment          agnostic person              zeros in pixels
mask                      0                      1 = to be generated          0
========================  =====================  ===========================  ==================

Pose tokens share the person's rotary positions, are kept clean, and carry no prediction; sampling
can let them go (``pose_tokens="free"``).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vtonlab.attention import AttentionRecorder
from vtonlab.backbones.families import Text, family_of
from vtonlab.conditioners.base import Conditioner, Encode, Prediction
from vtonlab.conditioners.joint_records import joint_records
from vtonlab.ops.panels import (
    GARMENT,
    PERSON,
    join_panels,
    mask_to_channels,
    panel_indices,
)
from vtonlab.registry import CONDITIONERS


@CONDITIONERS.register_module()
class Full3DAttentionConditioner(Conditioner):
    """In-context conditioning of a multi-modal DiT (FLUX, SD3, or any family with ``panels``).

    Args:
        prompt: config of the text source (``NullPrompt``, ``CachedPrompt``).
        codec_factor: pixels per latent, 8 for the VAEs of FLUX and SD3.
        pose_panel: show the pose picture as a third panel.
        guidance_scale: value of the guidance embedding of guidance-distilled backbones (FLUX.1 dev
            family) while sampling.
        training_guidance_scale: the same while training; None takes ``guidance_scale``. Released
            diptych models were trained at 1 and sample at 30.
        pose_tokens: while sampling, ``"clean"`` shows the clean pose at every step, as in training;
            ``"free"`` starts from it and lets the sampler step it with the rest, as CORAL's release
            does (METHODS.md A3).

    Raises:
        ValueError: another ``pose_tokens``, or ``"free"`` without a pose panel.
    """

    def __init__(
        self,
        *,
        prompt: dict,
        codec_factor: int = 8,
        pose_panel: bool = True,
        guidance_scale: float = 30.0,
        training_guidance_scale: float | None = None,
        pose_tokens: str = "clean",
    ) -> None:
        super().__init__()
        if pose_tokens not in ("clean", "free"):
            raise ValueError(f"pose_tokens={pose_tokens!r}: choose 'clean' or 'free'")
        if pose_tokens == "free" and not pose_panel:
            raise ValueError("pose_tokens='free' needs pose_panel=True")
        self.pose_tokens = pose_tokens
        self.prompt = CONDITIONERS.build(prompt)
        self.codec_factor = codec_factor
        self.panels = 3 if pose_panel else 2
        self.guidance_scale = guidance_scale
        if training_guidance_scale is None:
            training_guidance_scale = guidance_scale
        self.training_guidance_scale = training_guidance_scale

    def attach(self, backbone: nn.Module) -> None:
        """SD3 gets input channels for canvas and mask, which start at zero (FLUX.1-Fill has
        them).

        Raises:
            ValueError: a backbone whose family takes no panels.
        """
        family = family_of(backbone, "panels", type(self).__name__)
        family.fit_panels(backbone, self.codec_factor)

    @property
    def needs(self) -> tuple[str, ...]:
        """Maps of the person that the network is shown."""
        return ("agnostic", "mask", "pose")[: self.panels]

    def target(self, batch: dict, encode: Encode) -> Tensor:
        """Diptych latents ``(B, C, h, 2w)``: the garment, and the person wearing it (``target``
        where a batch has it).
        """
        return encode(join_panels(batch["garment"], batch.get("target", batch["person"])))

    def prepare(self, batch: dict, encode: Encode) -> dict[str, Any]:
        """Canvas and mask channels ``(B, C + factor^2, h, P * w)``, clean pose latents, text."""
        garment, agnostic, mask = batch["garment"], batch["agnostic"], batch["mask"]
        nothing = torch.zeros_like(mask)
        pictures, masks = [garment, agnostic], [nothing, mask]
        if self.panels == 3:
            pictures.append(torch.zeros_like(garment))
            masks.append(nothing)
        canvas = encode(join_panels(*pictures))
        mask_channels = mask_to_channels(join_panels(*masks), self.codec_factor).to(canvas.dtype)
        text = self.prompt.of(batch)
        return {
            "canvas": torch.cat([canvas, mask_channels], dim=1),
            "pose": encode(batch["pose"]) if self.panels == 3 else None,
            "text": text.tokens.to(canvas.dtype),
            "pooled": text.pooled.to(canvas.dtype),
        }

    def blank(self, conditions: dict[str, Any]) -> Tensor:
        """Canvas latents of two panels, ``(B, C, h, 2w)``."""
        canvas = conditions["canvas"]
        width = canvas.shape[-1] // self.panels
        return canvas[:, : -(self.codec_factor**2), :, : 2 * width]

    def forward(
        self,
        backbone: nn.Module,
        noisy: Tensor,
        sigmas: Tensor,
        conditions: dict[str, Any],
        layers: Sequence[str] = (),
    ) -> Prediction:
        """Velocity on the diptych ``(B, C, h, 2w)``, or on all panels where the pose is among the
        noisy latents; person queries and garment keys in records.
        """
        canvas = conditions["canvas"]
        height, width = canvas.shape[-2], canvas.shape[-1] // self.panels
        whole = noisy.shape[-1] == canvas.shape[-1]
        streams = noisy if whole else join_panels(noisy, conditions["pose"])
        family = family_of(backbone, "panels", type(self).__name__)

        def run() -> Tensor:
            text = Text(conditions["text"], conditions["pooled"])
            scale = self.training_guidance_scale if self.training else self.guidance_scale
            sizes = dict(panels=self.panels, guidance_scale=scale)
            return family.panels(backbone, streams, canvas, sigmas, text, **sizes)

        if not layers:
            sample = run()
            return Prediction(sample[..., : noisy.shape[-1]])
        to_record = self._record_builder(backbone, (height // 2, width // 2), conditions["text"])
        with AttentionRecorder(backbone, layers=layers, to_record=to_record) as recorder:
            sample = run()
        return Prediction(sample[..., : noisy.shape[-1]], recorder.records)

    def start(self, noise: Tensor, conditions: dict[str, Any]) -> Tensor:
        """Diptych noise ``(B, C, h, 2w)``; with free pose tokens the clean pose beside it."""
        return join_panels(noise, conditions["pose"]) if self.pose_tokens == "free" else noise

    def finish(self, latents: Tensor) -> Tensor:
        """The diptych alone."""
        return latents[..., : latents.shape[-1] // 3 * 2] if self.pose_tokens == "free" else latents

    def person_latents(self, latents: Tensor) -> Tensor:
        """Right half of the diptych: ``(B, C, h, 2w)`` to ``(B, C, h, w)``."""
        return latents[..., latents.shape[-1] // 2 :]

    def sequence_length(self, conditions: dict[str, Any]) -> int:
        """Image tokens of all panels (9 216 at 1024x768)."""
        return conditions["canvas"].shape[-2] * conditions["canvas"].shape[-1] // 4

    def _record_builder(self, backbone: nn.Module, grid: tuple[int, int], text: Tensor):
        """The panels' places in the joint sequence, told to `joint_records`."""
        places = [panel_indices(grid, self.panels, n) for n in range(self.panels)]
        return joint_records(
            backbone,
            grid=grid,
            person=places[PERSON],
            garment=places.pop(GARMENT),
            others=torch.cat(places).sort().values,
            text=text,
        )
