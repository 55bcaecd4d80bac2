"""Qwen-Image and its editing models: 2 x 2 latents a token, positions made of picture sizes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vtonlab.attention.layers import BlockTokens
from vtonlab.attention.layouts import TEXT_FIRST
from vtonlab.backbones.families.base import BackboneFamily, Reference, Text
from vtonlab.ops.panels import pack_latents, unpack_latents
from vtonlab.registry import ATTENTION_BLOCKS, FAMILIES

ATTENTION_BLOCKS.add(BlockTokens("joint", TEXT_FIRST), "diffusers.QwenImageTransformerBlock")


@FAMILIES.register("diffusers.QwenImageTransformer2DModel")
class QwenImageFamily(BackboneFamily):
    """Padded text is masked; there is no pooled text."""

    pipeline = "QwenImageEditPlusPipeline"

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
        """As diffusers' ``QwenImageEditPlusPipeline`` calls it.

        Raises:
            ValueError: a reference with scaled positions, which this family has no way for.
        """
        if any(each.position_scale != 1.0 for each in references):
            raise ValueError("Qwen-Image makes positions of picture sizes: leave position_scale 1")
        pictures = [noisy, *(each.latents for each in references)]
        guidance = None
        if backbone.config.guidance_embeds:
            guidance = torch.full_like(sigmas, guidance_scale)
        shapes = [(1, each.shape[-2] // 2, each.shape[-1] // 2) for each in pictures]
        output = backbone(
            hidden_states=torch.cat([pack_latents(each).to(noisy) for each in pictures], dim=1),
            encoder_hidden_states=text.tokens,
            encoder_hidden_states_mask=text.mask,
            timestep=sigmas,
            img_shapes=[shapes] * len(noisy),
            guidance=guidance,
            return_dict=False,
        )[0]
        height, width = noisy.shape[-2:]
        return unpack_latents(output[:, : height * width // 4], height, width)
