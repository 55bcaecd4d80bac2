"""A conditioner that shows the garment clean instead of denoising it beside the person.

A conditioner answers five questions (``vtonlab/conditioners/base.py``): what the diffusion runs on
(``target``), what stays the same over noise levels (``prepare``), one call of the network with its
attention records (``forward``), which part of the latents is the person, and how long the sequence
is. This one changes three answers of the full-attention conditioner and keeps two.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vtonlab.conditioners import Full3DAttentionConditioner
from vtonlab.conditioners.base import Encode, Prediction
from vtonlab.ops.panels import join_panels
from vtonlab.registry import CONDITIONERS


@CONDITIONERS.register_module()
class CleanGarmentConditioner(Full3DAttentionConditioner):
    """Panels ``[garment (clean) | person (noised) | pose (clean)]``: the diffusion draws the person
    alone.

    The garment's keys are then the same at every noise level, and the loss is not spent on a
    picture that is given. Arguments and attention records are those of
    :class:`~vtonlab.conditioners.Full3DAttentionConditioner`.
    """

    def target(self, batch: dict, encode: Encode) -> Tensor:
        """Person latents ``(B, C, h, w)`` (``target`` where a batch has it)."""
        return encode(batch.get("target", batch["person"]))

    def prepare(self, batch: dict, encode: Encode) -> dict[str, Any]:
        """What the parent prepares, and the clean garment latents ``(B, C, h, w)``."""
        return {**super().prepare(batch, encode), "garment": encode(batch["garment"])}

    def blank(self, conditions: dict[str, Any]) -> Tensor:
        """The garment's latents."""
        return conditions["garment"]

    def forward(
        self,
        backbone: nn.Module,
        noisy: Tensor,
        sigmas: Tensor,
        conditions: dict[str, Any],
        layers: Sequence[str] = (),
    ) -> Prediction:
        """Velocity on the person ``(B, C, h, w)``; person queries and garment keys in records."""
        diptych = join_panels(conditions["garment"], noisy)  # (B, C, h, 2w)
        answer = super().forward(backbone, diptych, sigmas, conditions, layers)
        return Prediction(super().person_latents(answer.sample), answer.records)

    def person_latents(self, latents: Tensor) -> Tensor:
        """All of them."""
        return latents
