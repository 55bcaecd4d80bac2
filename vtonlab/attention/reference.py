"""Self-attention that also sees a reference network's features, and UNets without text.

A ``ReferenceWriter`` stands on each self-attention of a reference UNet and keeps what comes in; a
``ReferenceReader`` stands on the same layer of the generative UNet and sets it beside its own
tokens. Both find the dict ``layer name -> (B, N, C)`` under ``reference`` in diffusers'
``cross_attention_kwargs`` (Leffa, METHODS.md 3.1).
"""

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, cat, nn

from vtonlab.attention.layers import select_by_kind, unwrap
from vtonlab.utils.compat import in_backward


class ReferenceWriter(AttnProcessor2_0):
    """Attends as always, and keeps the layer's input (after the block's norm1)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        reference: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """``hidden_states`` (B, N, C); ``reference`` is written to, but not by a recomputation."""
        if reference is not None and not in_backward():
            reference[self.name] = hidden_states
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class ReferenceReader(AttnProcessor2_0):
    """Attends over the layer's own tokens, then the reference's, by the layer's own weights.

    The same as attention over the joined sequence of which the first half is kept: the queries that
    would be thrown away are not made.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        reference: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """``hidden_states`` (B, N, C) and ``reference[name]`` (B, M, C); returns (B, N, C)."""
        if reference is not None:
            encoder_hidden_states = cat([hidden_states, reference[self.name]], dim=1)
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class PassThrough:
    """In place of a cross-attention: gives back its (normed) input, as the released weights want.

    The block adds it to the residual stream, which so receives ``norm2(x)``.
    """

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        reference: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """``hidden_states``, untouched."""
        return hidden_states


def write_reference(unet: nn.Module) -> None:
    """Put a :class:`ReferenceWriter` on every self-attention, in place."""
    for name in select_by_kind(unet, "self"):
        unet.get_submodule(name).set_processor(ReferenceWriter(name))


def read_reference(unet: nn.Module) -> None:
    """Put a :class:`ReferenceReader` on every self-attention, in place."""
    for name in select_by_kind(unet, "self"):
        unet.get_submodule(name).set_processor(ReferenceReader(name))


def remove_text(unet: nn.Module, *, form: str) -> None:
    """Take text out of a UNet, in place: cross-attention, and SDXL's pooled text and size inputs.

    Args:
        form: ``"skip"`` removes cross-attention with its norm; ``"residual"`` keeps the norm, whose
            output is added, and keeps the unused modules frozen, as in Leffa's and CatVTON's
            released weights.
    """
    for block in unet.modules():
        if not isinstance(block, BasicTransformerBlock) or block.attn2 is None:
            continue
        if form == "skip":
            block.attn2 = block.norm2 = None
        else:
            block.attn2.set_processor(PassThrough())
            block.attn2.requires_grad_(False)
    if unet.config.addition_embed_type is not None:
        unet.register_to_config(addition_embed_type=None)
        if form == "skip":
            unet.add_embedding = None
        else:
            unet.add_embedding.requires_grad_(False)


def freeze_after_last_attention(unet: nn.Module) -> None:
    """Freeze, in place, what runs after the input of the last self-attention.

    A reference UNet is read up to there; its later parameters would never get a gradient.

    Raises:
        ValueError: the UNet's decoder has no self-attention.
    """
    last = select_by_kind(unet, "self")[-1].split(".")
    if last[0] != "up_blocks":
        raise ValueError(
            "a reference UNet needs self-attention in its decoder, and its last one is in "
            f"{last[0]}: choose CrossAttnUpBlock2D for one of up_block_types"
        )
    # up_blocks.<stage>.attentions.<place>.transformer_blocks.<depth>.attn1
    stage, place, depth = int(last[1]), int(last[3]), int(last[5])
    block = unwrap(unet).up_blocks[stage]
    attention = block.attentions[place]
    transformer = attention.transformer_blocks[depth]
    later = [
        *(part for name, part in transformer.named_children() if name != "norm1"),
        *attention.transformer_blocks[depth + 1 :],
        attention.proj_out,
        *block.attentions[place + 1 :],
        *block.resnets[place + 1 :],
        *(block.upsamplers or ()),
        *unet.up_blocks[stage + 1 :],
        unet.conv_norm_out,
        unet.conv_out,
    ]
    for part in later:
        part.requires_grad_(False)
