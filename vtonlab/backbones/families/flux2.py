"""FLUX.2 (dev, klein): 2 x 2 latents a token, positions (time, row, column, text)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vtonlab.attention.layers import BlockTokens
from vtonlab.attention.layouts import TEXT_FIRST
from vtonlab.backbones.families.base import BackboneFamily, Reference, Text, whole
from vtonlab.ops.panels import pack_latents, place_ids, text_position_ids, unpack_latents
from vtonlab.registry import ATTENTION_BLOCKS, FAMILIES
from vtonlab.utils.upload import upload

ATTENTION_BLOCKS.add(BlockTokens("joint", TEXT_FIRST), "diffusers.Flux2TransformerBlock")
ATTENTION_BLOCKS.add(BlockTokens("single", TEXT_FIRST), "diffusers.Flux2SingleTransformerBlock")
TIME_STEP = 10  # between pictures


@FAMILIES.register("diffusers.Flux2Transformer2DModel")
class Flux2Family(BackboneFamily):
    """Reference picture ``i`` (from 1) stands at time ``10 i``; the generated one at 0."""

    pipeline = "Flux2KleinPipeline"

    def references(
        self,
        backbone: nn.Module,
        noisy: Tensor,
        references: Sequence[Reference],
        sigmas: Tensor,
        text: Text,
        *,
        guidance_scale: float,
    ) -> Tensor:
        """As diffusers' ``Flux2Pipeline`` and ``Flux2KleinPipeline`` call it."""
        pictures = [Reference(noisy), *references]
        tokens = torch.cat([pack_latents(each.latents).to(noisy) for each in pictures], dim=1)
        guidance = None
        if backbone.config.guidance_embeds:
            guidance = torch.full_like(sigmas, guidance_scale)
        places = [
            place_ids(each.latents.shape[-2:], TIME_STEP * number, scale=each.position_scale)
            for number, each in enumerate(pictures)
        ]
        ids = torch.nn.functional.pad(torch.cat(places), (0, 1))  # (N, 4): the last axis is text's
        output = backbone(
            hidden_states=tokens,
            encoder_hidden_states=whole(text, "FLUX.2").tokens,
            timestep=sigmas,
            img_ids=upload(ids, tokens.device),
            txt_ids=upload(text_position_ids(text.tokens.shape[1]), tokens.device),
            guidance=guidance,
            return_dict=False,
        )[0]
        height, width = noisy.shape[-2:]
        return unpack_latents(output[:, : height * width // 4], height, width)
