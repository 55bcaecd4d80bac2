"""FLUX.1: 2 x 2 latents a token, positions (picture, row, column), CLIP's pooled text."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vtonlab.attention.layers import BlockTokens
from vtonlab.attention.layouts import TEXT_FIRST
from vtonlab.backbones.families.base import BackboneFamily, Reference, Text, whole
from vtonlab.ops.panels import (
    pack_latents,
    panel_position_ids,
    place_ids,
    unpack_latents,
)
from vtonlab.registry import ATTENTION_BLOCKS, FAMILIES
from vtonlab.utils.upload import upload

ATTENTION_BLOCKS.add(BlockTokens("joint", TEXT_FIRST), "diffusers.FluxTransformerBlock")
ATTENTION_BLOCKS.add(BlockTokens("single", TEXT_FIRST), "diffusers.FluxSingleTransformerBlock")


@FAMILIES.register("diffusers.FluxTransformer2DModel")
class FluxFamily(BackboneFamily):
    """FLUX.1-Fill takes panels (canvas and mask channels), FLUX.1-Kontext reference pictures."""

    pipeline = "FluxPipeline"

    def panels(self, backbone, streams, canvas, sigmas, text, *, panels, guidance_scale) -> Tensor:
        """Tokens hold the noisy latents, the canvas's, then its mask channels (FLUX.1-Fill)."""
        tokens = pack_latents(torch.cat([streams, canvas], dim=1))
        height, width = streams.shape[-2:]
        ids = panel_position_ids((height // 2, width // 2 // panels), panels)
        output = self._call(backbone, tokens, ids, sigmas, text, guidance_scale)
        return unpack_latents(output, height, width)

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
        """As FLUX.1-Kontext: picture ``i`` stands at ``i`` on the first axis, the generated one at
        0 (diffusers' pipeline shows one reference, at 1).
        """
        pictures = [Reference(noisy), *references]
        tokens = torch.cat([pack_latents(each.latents).to(noisy) for each in pictures], dim=1)
        places = [
            place_ids(each.latents.shape[-2:], number, scale=each.position_scale)
            for number, each in enumerate(pictures)
        ]
        output = self._call(backbone, tokens, torch.cat(places), sigmas, text, guidance_scale)
        height, width = noisy.shape[-2:]
        return unpack_latents(output[:, : height * width // 4], height, width)

    def _call(self, backbone, tokens, ids, sigmas, text, guidance_scale) -> Tensor:
        guidance = None
        if backbone.config.guidance_embeds:
            guidance = torch.full_like(sigmas, guidance_scale)
        return backbone(
            hidden_states=tokens,
            encoder_hidden_states=whole(text, "FLUX.1").tokens,
            pooled_projections=text.pooled,
            timestep=sigmas,
            img_ids=upload(ids, tokens.device, tokens.dtype),
            txt_ids=tokens.new_zeros(text.tokens.shape[1], 3),
            guidance=guidance,
            return_dict=False,
        )[0]
