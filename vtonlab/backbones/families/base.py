"""What a conditioner asks of a backbone's family, whatever the class is called."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from vtonlab.attention.layers import unwrap
from vtonlab.registry import FAMILIES


class Text(NamedTuple):
    """What a backbone is told in words."""

    tokens: Tensor  # (B, T, D)
    pooled: Tensor | None = None  # (B, P), for families that take it
    mask: Tensor | None = None  # (B, T) bool, True where a token is text and no padding


def whole(text: Text, who: str) -> Text:
    """``text``, of a family that has no way to mask padding.

    Raises:
        ValueError: it is padded.
    """
    if text.mask is not None and not bool(text.mask.all()):
        raise ValueError(
            f"{who} takes no padded text: encode all sentences to one length (`max_length`)"
        )
    return text


class Reference(NamedTuple):
    """A clean picture that is shown as tokens."""

    latents: Tensor  # (B, C, h', w'), of a size of its own
    position_scale: float = 1.0  # its rows and columns are multiplied by this


class BackboneFamily:
    """Base of all adapters: how a prediction is had from one family of networks.

    An adapter overrides the ways its networks can be shown a garment, and no other: `panels`,
    `references`, `unet`. It packs the latents into tokens, makes position ids, passes noise levels
    (``sigmas`` (B,) in [0, 1]), text and guidance as the class wants them, and reads the output.
    Register it with ``@FAMILIES.register("package.Class", ...)``, and where joint attention has
    tokens of text and image, its blocks with ``ATTENTION_BLOCKS.add(BlockTokens(...), ...)``.

    Attributes:
        pipeline: of diffusers, whose ``load_lora_weights`` reads an adapter of these networks.
        input_layer: name of the first convolution, whose input channels can be fitted.
        more_text_tokens: that its pipeline joins to those of the longest text encoder.
    """

    pipeline: str | None = None
    input_layer: str | None = None
    more_text_tokens = 0

    def fit_panels(self, backbone: nn.Module, codec_factor: int) -> None:
        """Give ``backbone`` the input channels that `panels` feeds; by default it has them."""

    def panels(
        self,
        backbone: nn.Module,
        streams: Tensor,
        canvas: Tensor,
        sigmas: Tensor,
        text: Text,
        *,
        panels: int,
        guidance_scale: float,
    ) -> Tensor:
        """Velocity of pictures side by side: ``streams`` (B, C, h, P * w) with ``canvas``
        (B, C + factor^2, h, P * w), clean latents and mask channels; like ``streams``.
        """
        raise NotImplementedError

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
        """Velocity of ``noisy`` (B, C, h, w) beside clean ``references``, whose tokens follow in
        the sequence in their order; like ``noisy``.
        """
        raise NotImplementedError

    def unet(
        self,
        backbone: nn.Module,
        streams: Tensor,
        sigmas: Tensor,
        text: Tensor | None,
        attention_kwargs: dict | None = None,
    ) -> Tensor:
        """Prediction (B, C, h, w) of a UNet on channels (B, C', h, w) and context (B, T, D)."""
        raise NotImplementedError


def family_of(backbone: nn.Module, way: str, who: str = "this") -> BackboneFamily:
    """The adapter of a backbone that overrides ``way``; wrappers are looked through.

    Args:
        way: ``"panels"``, ``"references"`` or ``"unet"``.
        who: asks, for the message.

    Raises:
        ValueError: no family of that way is registered for its class or a base of it.
    """
    backbone = unwrap(backbone)
    family = FAMILIES.find(backbone)
    if family is None or not _overrides(family, way):
        able = [str(getattr(k, "__name__", k)) for k, f in FAMILIES.items() if _overrides(f, way)]
        names = ", ".join(sorted(name.rpartition(".")[2] for name in able))
        raise ValueError(
            f"{who} does not know how to call {type(backbone).__name__}: use {names}, or register "
            f"an adapter with `{way}` in vtonlab.registry.FAMILIES"
        )
    return family


def _overrides(family: BackboneFamily, way: str) -> bool:
    return getattr(type(family), way) is not getattr(BackboneFamily, way)
