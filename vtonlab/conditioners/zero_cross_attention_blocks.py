"""The networks of zero cross-attention: a spatial encoder of the garment, and one block for each
place of the UNet's decoder (METHODS.md 4.1).
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Place(NamedTuple):
    """Where one block stands: before the skip connection of a decoder ResBlock.

    Attributes:
        producer: name of the UNet's module whose output is the decoder feature there.
        query_dim: channels of the decoder feature.
        skip: index of the skip feature that is joined next; the spatial encoder's feature of the
            same index is attended to.
        garment_dim: channels of that feature.
    """

    producer: str
    query_dim: int
    skip: int
    garment_dim: int


def decoder_places(unet: nn.Module) -> list[Place]:
    """Places in decoder order, all but those of the lowest resolution: nine in SD-1.x."""
    widths = [unet.conv_in.out_channels]  # of the skip features, in the order they are made
    for block in unet.down_blocks:
        widths += [resnet.out_channels for resnet in block.resnets]
        widths += [unit.out_channels for unit in block.downsamplers or ()]
    places = []
    skip = len(widths)
    for level, block in enumerate(unet.up_blocks):
        for number, resnet in enumerate(block.resnets):
            skip -= 1
            if level > 0:
                query_dim = resnet.in_channels - widths[skip]
                producer = _producer(unet, level, number)
                places.append(Place(producer, query_dim, skip, widths[skip]))
    return places


def _producer(unet: nn.Module, level: int, number: int) -> str:
    if number == 0:
        return f"up_blocks.{level - 1}.upsamplers.0"
    attends = getattr(unet.up_blocks[level], "attentions", None) is not None
    return f"up_blocks.{level}.{'attentions' if attends else 'resnets'}.{number - 1}"


def zero(module: nn.Module) -> nn.Module:
    """``module`` with all parameters zero."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class SpatialEncoder(nn.Module):
    """Encoder of a UNet with its own weights, which start as the UNet's.

    Its last level and middle block feed no zero cross-attention block. They are kept, because
    released weights hold them, but neither run nor trained.

    Args:
        unet: diffusers' ``UNet2DConditionModel``, its input already widened.
        latent_channels: of the garment's latents.
        sees: ``"person_and_garment"``: what the UNet sees, plus the garment through a zero
            convolution (the released code); ``"garment"``: the garment alone (the paper).
    """

    def __init__(self, unet: nn.Module, *, latent_channels: int, sees: str) -> None:
        super().__init__()
        self.time_proj = copy.deepcopy(unet.time_proj)
        self.time_embedding = copy.deepcopy(unet.time_embedding)
        self.conv_in = copy.deepcopy(unet.conv_in)
        self.down_blocks = copy.deepcopy(unet.down_blocks)
        self.mid_block = copy.deepcopy(unet.mid_block)
        self.garment_conv = None
        width = self.conv_in.out_channels
        if sees == "person_and_garment":
            self.garment_conv = zero(nn.Conv2d(latent_channels, width, 3, padding=1))
        else:
            narrow = nn.Conv2d(latent_channels, width, 3, padding=1)
            with torch.no_grad():
                narrow.weight.copy_(self.conv_in.weight[:, :latent_channels])
                narrow.bias.copy_(self.conv_in.bias)
            self.conv_in = narrow
        self.requires_grad_(True)
        for unused in self.unused():
            unused.requires_grad_(False)

    def unused(self) -> list[nn.Module]:
        """Parts that no block reads."""
        above = self.down_blocks[-2].downsamplers if len(self.down_blocks) > 1 else None
        return [self.down_blocks[-1], self.mid_block, *([] if above is None else [above])]

    def forward(self, stream: Tensor, garment: Tensor, timesteps: Tensor, token: Tensor):
        """Skip features, as the UNet's own encoder makes them, without those of the last level.

        Args:
            stream: what the UNet sees, (B, C, h, w).
            garment: latents (B, C', h, w).
            timesteps: (B,) from 0 to 1000.
            token: (B, 1, D).
        """
        embedding = self.time_embedding(self.time_proj(timesteps).to(stream.dtype))
        if self.garment_conv is None:
            hidden = self.conv_in(garment)
        else:
            hidden = self.conv_in(stream) + self.garment_conv(garment)
        features = [hidden]
        for block in self.down_blocks[:-1]:
            arguments = dict(hidden_states=hidden, temb=embedding)
            if getattr(block, "has_cross_attention", False):
                arguments["encoder_hidden_states"] = token
            hidden, made = block(**arguments)
            features += made
        return features


class ZeroCrossAttentionBlock(nn.Module):
    """``h + zero_conv(T(h, garment))``, with T diffusers' ``Transformer2DModel``: GroupNorm, 1x1
    convolution, {self-attention, cross-attention to the garment, GEGLU}, zero 1x1 convolution,
    residual.
    """

    def __init__(self, *, query_dim: int, garment_dim: int, num_heads: int, groups: int) -> None:
        super().__init__()
        from diffusers import Transformer2DModel

        if query_dim % num_heads:
            raise ValueError(
                f"a decoder feature of {query_dim} channels cannot be cut into {num_heads} heads: "
                "set the conditioner's num_heads to a divisor of the UNet's widths"
            )
        self.transformer = Transformer2DModel(
            num_attention_heads=num_heads,
            attention_head_dim=query_dim // num_heads,
            in_channels=query_dim,
            cross_attention_dim=garment_dim,
            norm_num_groups=groups,
        )
        zero(self.transformer.proj_out)
        self.zero_conv = zero(nn.Conv2d(query_dim, query_dim, 1))

    def forward(self, hidden: Tensor, garment: Tensor, kept: Tensor | None = None) -> Tensor:
        """Decoder feature (B, C, h, w), garment feature (B, C', h, w), and where ``kept`` (B,) is 0
        the feature as it was.
        """
        context = garment.flatten(2).mT  # (B, h * w, C'), not normed
        attended = self.transformer(hidden, encoder_hidden_states=context, return_dict=False)[0]
        added = self.zero_conv(attended)
        if kept is not None:
            added = added * kept.to(added)[:, None, None, None]
        return hidden + added


class ZeroCrossAttention(nn.Module):
    """The blocks of all places, and how they enter a UNet's forward pass."""

    def __init__(self, unet: nn.Module, *, num_heads: int) -> None:
        super().__init__()
        self.places = decoder_places(unet)
        self.blocks = nn.ModuleList(
            ZeroCrossAttentionBlock(
                query_dim=place.query_dim,
                garment_dim=place.garment_dim,
                num_heads=num_heads,
                groups=unet.config.norm_num_groups,
            )
            for place in self.places
        )
        if unet.is_gradient_checkpointing:
            self._check_checkpointing()
            for block in self.blocks:
                block.transformer.enable_gradient_checkpointing()

    @contextmanager
    def applied(
        self, unet: nn.Module, features: list[Tensor], kept: Tensor | None
    ) -> Iterator[list[tuple[int, int]]]:
        """While open, ``unet`` runs with the blocks in its decoder; gives the grid (h, w) of each
        block, filled in as they run. Samples beyond those of ``features`` go without.

        Forward hooks on the modules before each place; they are gone when it closes, and none of
        them lies inside a region that gradient checkpointing recomputes.
        """
        grids: list[tuple[int, int]] = []
        handles = []

        def make_hook(block: nn.Module, feature: Tensor):
            def hook(module, args, output):
                hidden = output[0] if isinstance(output, tuple) else output
                grids.append(tuple(hidden.shape[-2:]))
                shown = len(feature)
                hidden = torch.cat([block(hidden[:shown], feature, kept), hidden[shown:]])
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            return hook

        for place, block in zip(self.places, self.blocks, strict=True):
            module = unet.get_submodule(place.producer)
            hook = make_hook(block, features[place.skip])
            handles.append(module.register_forward_hook(hook))
        try:
            yield grids
        finally:
            for handle in handles:
                handle.remove()

    def _check_checkpointing(self) -> None:
        """ResBlocks are recomputed with what hooks on them; their hooks would be gone by then."""
        inside = [p.producer for p in self.places if ".resnets." in p.producer]
        if inside:
            raise ValueError(
                f"gradient_checkpointing cannot go with a zero cross-attention block after "
                f"{inside[0]}: give that level of the UNet attention (CrossAttnUpBlock2D)"
            )
