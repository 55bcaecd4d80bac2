"""Stable Diffusion 3 and 3.5: pictures in, pictures out; the network makes tokens itself."""

import torch
from torch import Tensor, nn

from vtonlab.attention.layers import BlockTokens
from vtonlab.attention.layouts import IMAGE_FIRST
from vtonlab.backbones.families.base import BackboneFamily, whole
from vtonlab.backbones.input_channels import fit_input_channels
from vtonlab.registry import ATTENTION_BLOCKS, FAMILIES

ATTENTION_BLOCKS.add(BlockTokens("joint", IMAGE_FIRST), "diffusers.JointTransformerBlock")


@FAMILIES.register("diffusers.SD3Transformer2DModel")
class SD3Family(BackboneFamily):
    """Panels enter by input channels for canvas and mask, which start at zero."""

    pipeline = "StableDiffusion3Pipeline"
    input_layer = "pos_embed.proj"
    more_text_tokens = 77  # CLIP's, beside T5's

    def fit_panels(self, backbone: nn.Module, codec_factor: int) -> None:
        """Latents, canvas latents and ``codec_factor``^2 mask channels."""
        fit_input_channels(backbone, 2 * backbone.config.out_channels + codec_factor**2)

    def panels(self, backbone, streams, canvas, sigmas, text, *, panels, guidance_scale) -> Tensor:
        """Positions run over the whole canvas; there is no guidance embedding."""
        return backbone(
            hidden_states=torch.cat([streams, canvas], dim=1),
            encoder_hidden_states=whole(text, "Stable Diffusion 3").tokens,
            pooled_projections=text.pooled,
            timestep=sigmas * 1000.0,
            return_dict=False,
        )[0]
