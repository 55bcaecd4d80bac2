"""Person, garment and pose as reference pictures of an editing model: tokens of one sequence.

FLUX.2 was trained to edit with any number of clean reference pictures in its sequence, told apart
by a time coordinate of their rotary positions. So the generated person is followed by

===================  ==============================  ======  ====================================
tokens               latents                         time    rows and columns
===================  ==============================  ======  ====================================
the dressed person   noisy; the only ones predicted  0       0 .. h - 1, 0 .. w - 1
the agnostic person  clean, grey in the mask         10      the same
the garment          clean                           20      the same
the pose             clean                           30      the same
===================  ==============================  ======  ====================================

under full attention, as in `Full3DAttentionConditioner`, whose canvas and mask channels FLUX.2 has
no weights for: with references no weight is new, training starts from an ability the model has, and
what is trained runs in diffusers' own pipeline with ``image=[agnostic, garment, pose]``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vtonlab.attention import AttentionRecorder
from vtonlab.attention.layers import unwrap
from vtonlab.conditioners.base import Conditioner, Encode, Prediction
from vtonlab.conditioners.joint_records import joint_records
from vtonlab.ops.panels import (
    pack_latents,
    reference_position_ids,
    text_position_ids,
    unpack_latents,
)
from vtonlab.registry import CONDITIONERS

_GARMENT = 2  # the third picture of the sequence


@CONDITIONERS.register_module()
class ReferenceTokensConditioner(Conditioner):
    """In-context conditioning of diffusers' ``Flux2Transformer2DModel``.

    Args:
        prompt: config of the text source (``NullPrompt``, ``CachedPrompt``); pooled text is not
            used.
        pose: show the pose picture.
        guidance_scale: value of the guidance embedding, for backbones that have one (FLUX.2 dev;
            klein has none).
    """

    def __init__(self, *, prompt: dict, pose: bool = True, guidance_scale: float = 4.0) -> None:
        super().__init__()
        self.prompt = CONDITIONERS.build(prompt)
        self.pose = pose
        self.guidance_scale = guidance_scale

    def target(self, batch: dict, encode: Encode) -> Tensor:
        """Latents ``(B, C, h, w)`` of the person wearing the garment (``target`` where a batch has
        it).
        """
        return encode(batch.get("target", batch["person"]))

    def prepare(self, batch: dict, encode: Encode) -> dict[str, Any]:
        """Tokens of the reference pictures ``(B, R * h/2 * w/2, 4C)``, and text."""
        pictures = [batch["agnostic"], batch["garment"]] + ([batch["pose"]] if self.pose else [])
        latents = encode(torch.cat(pictures)).chunk(len(pictures))
        tokens, _ = self.prompt(batch["category"])
        return {
            "references": torch.cat([pack_latents(each) for each in latents], dim=1),
            "text": tokens.to(latents[0].dtype),
        }

    def forward(
        self,
        backbone: nn.Module,
        noisy: Tensor,
        sigmas: Tensor,
        conditions: dict[str, Any],
        layers: Sequence[str] = (),
    ) -> Prediction:
        """Velocity of the person ``(B, C, h, w)``; person queries and garment keys in records."""
        if type(unwrap(backbone)).__name__ != "Flux2Transformer2DModel":
            raise ValueError(
                f"ReferenceTokensConditioner does not know {type(unwrap(backbone)).__name__}: use "
                "Flux2Transformer2DModel"
            )
        if not layers:
            return Prediction(self._call(backbone, noisy, sigmas, conditions))
        grid = (noisy.shape[-2] // 2, noisy.shape[-1] // 2)
        count = grid[0] * grid[1]
        places = list(torch.arange(count + conditions["references"].shape[1]).split(count))
        to_record = joint_records(
            backbone,
            grid=grid,
            person=places[0],
            garment=places.pop(_GARMENT),
            others=torch.cat(places),
            text=conditions["text"],
        )
        with AttentionRecorder(backbone, layers=layers, to_record=to_record) as recorder:
            sample = self._call(backbone, noisy, sigmas, conditions)
        return Prediction(sample, recorder.records)

    def person_latents(self, latents: Tensor) -> Tensor:
        """All of them."""
        return latents

    def sequence_length(self, conditions: dict[str, Any]) -> int:
        """Image tokens that are generated (3 072 at 1024x768), as FLUX.2's noise levels count."""
        return conditions["references"].shape[1] // (3 if self.pose else 2)

    def _call(
        self, backbone: nn.Module, noisy: Tensor, sigmas: Tensor, conditions: dict[str, Any]
    ) -> Tensor:
        height, width = noisy.shape[-2:]
        generated, text = pack_latents(noisy), conditions["text"]
        grid, references = (height // 2, width // 2), 3 if self.pose else 2
        guidance = None
        if backbone.config.guidance_embeds:
            guidance = torch.full_like(sigmas, self.guidance_scale)
        output = backbone(
            hidden_states=torch.cat([generated, conditions["references"].to(generated)], dim=1),
            encoder_hidden_states=text,
            timestep=sigmas,
            img_ids=reference_position_ids(grid, references).to(generated.device),
            txt_ids=text_position_ids(text.shape[1]).to(generated.device),
            guidance=guidance,
            return_dict=False,
        )[0]
        return unpack_latents(output[:, : generated.shape[1]], height, width)
