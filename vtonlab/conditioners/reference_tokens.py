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
from vtonlab.backbones.families import Text, family_of
from vtonlab.conditioners.base import Conditioner, Encode, Prediction
from vtonlab.conditioners.joint_records import joint_records
from vtonlab.registry import CONDITIONERS

_GARMENT = 2  # the third picture of the sequence


@CONDITIONERS.register_module()
class ReferenceTokensConditioner(Conditioner):
    """In-context conditioning of an editing model (FLUX.2, FLUX.1-Kontext, or any family with
    ``references``).

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

    def attach(self, backbone: nn.Module) -> None:
        """Changes nothing.

        Raises:
            ValueError: a backbone whose family takes no reference pictures.
        """
        family_of(backbone, "references", type(self).__name__)

    @property
    def needs(self) -> tuple[str, ...]:
        """Maps of the person that the network is shown."""
        return ("agnostic", "pose") if self.pose else ("agnostic",)

    def target(self, batch: dict, encode: Encode) -> Tensor:
        """Latents ``(B, C, h, w)`` of the person wearing the garment (``target`` where a batch has
        it).
        """
        return encode(batch.get("target", batch["person"]))

    def prepare(self, batch: dict, encode: Encode) -> dict[str, Any]:
        """Latents of the reference pictures, each ``(B, C, h, w)``, and text."""
        pictures = [batch["agnostic"], batch["garment"]] + ([batch["pose"]] if self.pose else [])
        latents = encode(torch.cat(pictures)).chunk(len(pictures))
        tokens, pooled = self.prompt(batch["category"])
        dtype = latents[0].dtype
        return {
            "references": list(latents),
            "text": tokens.to(dtype),
            "pooled": pooled.to(dtype),
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
        family = family_of(backbone, "references", type(self).__name__)
        references = conditions["references"]

        def run() -> Tensor:
            text = Text(conditions["text"], conditions["pooled"])
            scale = self.guidance_scale
            return family.references(
                backbone, noisy, references, sigmas, text, guidance_scale=scale
            )

        if not layers:
            return Prediction(run())
        grid = (noisy.shape[-2] // 2, noisy.shape[-1] // 2)
        count = grid[0] * grid[1]
        places = list(torch.arange(count * (1 + len(references))).split(count))
        to_record = joint_records(
            backbone,
            grid=grid,
            person=places[0],
            garment=places.pop(_GARMENT),
            others=torch.cat(places),
            text=conditions["text"],
        )
        with AttentionRecorder(backbone, layers=layers, to_record=to_record) as recorder:
            sample = run()
        return Prediction(sample, recorder.records)

    def person_latents(self, latents: Tensor) -> Tensor:
        """All of them."""
        return latents

    def sequence_length(self, conditions: dict[str, Any]) -> int:
        """Image tokens that are generated (3 072 at 1024x768), as FLUX.2's noise levels count."""
        height, width = conditions["references"][0].shape[-2:]
        return height * width // 4
