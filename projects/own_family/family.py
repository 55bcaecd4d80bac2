"""A backbone family of one's own: an editing network that is none of ours, and how it is called.

The network is put together from AuraFlow's blocks; a real one would be imported. What vtonlab has
to know of it are the two registrations: how a block orders its tokens, and the adapter.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps, get_2d_sincos_pos_embed
from diffusers.models.transformers.auraflow_transformer_2d import AuraFlowJointTransformerBlock
from torch import Tensor, nn

from vtonlab.attention import BlockTokens
from vtonlab.backbones.families import BackboneFamily
from vtonlab.ops.panels import pack_latents, unpack_latents
from vtonlab.registry import ATTENTION_BLOCKS, BACKBONES, FAMILIES


@BACKBONES.register_module()
class AuraEditor(ModelMixin, ConfigMixin):
    """Joint attention over text and any number of pictures, told apart by a learned vector.

    Args:
        in_channels: of a token, 4 C for latents of C channels.
        text_dim: of a text token.
        layers, heads, head_size: of the joint blocks.
        pictures: most pictures in a sequence.
    """

    _supports_gradient_checkpointing = False

    @register_to_config
    def __init__(
        self, in_channels: int = 48, text_dim: int = 16, layers: int = 2, heads: int = 2,
        head_size: int = 16, pictures: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        width = heads * head_size
        self.image_in, self.text_in = nn.Linear(in_channels, width), nn.Linear(text_dim, width)
        self.picture = nn.Embedding(pictures, width)
        self.time_proj, self.time = Timesteps(64, True, 0.0), TimestepEmbedding(64, width)
        self.blocks = nn.ModuleList(
            AuraFlowJointTransformerBlock(width, heads, head_size) for _ in range(layers)
        )
        self.out = nn.Linear(width, in_channels)

    def forward(self, pictures: list[Tensor], grids: list, text: Tensor, level: Tensor) -> Tensor:
        """Tokens (B, n, 4C) of each picture on its grid (h, w), text (B, T, D), level (B,)."""
        streams = []
        for number, (tokens, grid) in enumerate(zip(pictures, grids, strict=True)):
            places = get_2d_sincos_pos_embed(self.picture.embedding_dim, grid, output_type="pt")
            streams.append(self.image_in(tokens) + places.to(tokens) + self.picture.weight[number])
        image, text = torch.cat(streams, 1), self.text_in(text)
        time = self.time(self.time_proj(1000 * level).to(image))
        for block in self.blocks:
            text, image = block(image, text, time)
        return self.out(image[:, : pictures[0].shape[1]])


# AuraFlow's attention calls itself self-attention and holds the text's tokens first.
ATTENTION_BLOCKS.add(BlockTokens("joint", "text_first"), AuraFlowJointTransformerBlock)


@FAMILIES.register(AuraEditor)
class AuraEditorFamily(BackboneFamily):
    """Reference pictures follow the generated one; there is no guidance embedding."""

    def references(
        self, backbone, noisy, references, sigmas, text, *, guidance_scale
    ) -> Tensor:  # fmt: skip
        """Velocity like ``noisy`` (B, C, h, w)."""
        pictures = [noisy, *(each.latents for each in references)]
        output = backbone(
            [pack_latents(each) for each in pictures],
            [(each.shape[-2] // 2, each.shape[-1] // 2) for each in pictures],
            text.tokens,
            sigmas,
        )
        return unpack_latents(output, *noisy.shape[-2:])
