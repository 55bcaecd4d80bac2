"""Where image and text tokens stand in the sequences that attention layers see.

FLUX and FLUX.2 concatenate text, then image, in double and in single blocks; SD3's joint attention
concatenates image, then text. Self-attention of a UNet and SD3.5's second attention see image
tokens alone. Cross-attention has image tokens as queries and the conditioning as keys. These are
facts of the diffusers classes, registered in ``ATTENTION_BLOCKS`` by their families
(``vtonlab/backbones/families/``) and proved by the lit-patch tests.
"""

from torch import nn

from vtonlab.attention.layers import attention_kind, block_tokens, unwrap
from vtonlab.registry import ATTENTION_BLOCKS

TEXT_FIRST = "text_first"
IMAGE_FIRST = "image_first"
IMAGE_ONLY = "image_only"
CONTEXT_KEYS = "context_keys"


def token_order(backbone: nn.Module, name: str) -> str:
    """Order of the tokens that layer ``name`` sees.

    Returns:
        ``"text_first"`` or ``"image_first"`` for joint sequences, ``"image_only"`` for
        self-attention, ``"context_keys"`` for cross-attention (queries are image tokens, keys are
        the conditioning).

    Raises:
        ValueError: for a layer of a block whose order is not known.
    """
    kind = attention_kind(backbone, name)
    if kind == "self":
        return IMAGE_ONLY
    if kind == "cross":
        return CONTEXT_KEYS
    tokens = block_tokens(backbone, name)
    if tokens is None:
        block = type(unwrap(backbone).get_submodule(name.rpartition(".")[0])).__name__
        raise ValueError(
            f"The token order of layer '{name}' ({block}) is not known; known blocks: "
            f"{', '.join(ATTENTION_BLOCKS.classes())}. Register it: ATTENTION_BLOCKS.add("
            f"BlockTokens('joint', 'text_first'), {block})."
        )
    return tokens.order


def image_start(backbone: nn.Module, name: str, *, text_length: int) -> int:
    """Index of the first image token among a layer's queries, given the number of text tokens."""
    return text_length if token_order(backbone, name) == TEXT_FIRST else 0


def image_span(backbone: nn.Module, name: str, *, tokens: int, text_length: int) -> slice:
    """Slice of the image tokens among ``tokens`` queries of layer ``name``.

    For joint sequences the same slice holds for the keys; the keys of cross-attention hold no
    image token of the backbone's own.
    """
    order = token_order(backbone, name)
    if order == TEXT_FIRST:
        return slice(text_length, tokens)
    if order == IMAGE_FIRST:
        return slice(0, tokens - text_length)
    return slice(0, tokens)


def text_span(backbone: nn.Module, name: str, *, tokens: int, text_length: int) -> slice:
    """Slice of the text tokens in a joint sequence of ``tokens``; empty for self-attention.

    Raises:
        ValueError: for cross-attention, whose text (if any) is the key side.
    """
    order = token_order(backbone, name)
    if order == TEXT_FIRST:
        return slice(0, text_length)
    if order == IMAGE_FIRST:
        return slice(tokens - text_length, tokens)
    if order == IMAGE_ONLY:
        return slice(0, 0)
    raise ValueError(
        f"Layer '{name}' is cross-attention: its keys are the conditioning itself, no slice of a "
        "joint sequence; use the whole key."
    )
