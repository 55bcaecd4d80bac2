"""Which blocks of a diffusers network are computed again in the backward pass, and what is kept."""

import functools
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

_FUSED_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
# From no recomputation to all: each recomputes more of a block's work, and keeps less, than the
# one before (of FLUX at 1024x768 a third of a block is attention; docs/memory.md).
LADDER: tuple[bool | dict[str, Any], ...] = (
    False,
    dict(every=4, keep_attention=True),
    dict(every=4),
    dict(every=2, keep_attention=True),
    dict(every=2),
    dict(keep_attention=True),
    True,
)


def recompute_blocks(backbone: nn.Module, settings: bool | Mapping[str, Any] = True) -> None:
    """Compute blocks of ``backbone`` again in the backward pass instead of keeping what they made.

    Args:
        settings: True for every block, or a dictionary with ``every`` (2: every second block only,
            the others keep all) and ``keep_attention`` (outputs of fused attention are kept, so
            that the most expensive part of a block is computed once).

    Raises:
        ValueError: another key, or ``every`` below 1.
    """
    given = {} if settings is True else dict(settings)
    every, keep = given.pop("every", 1), given.pop("keep_attention", False)
    if given:
        raise ValueError(
            f"gradient_checkpointing has {next(iter(given))!r}: give True, False, or a dictionary "
            "with every and keep_attention"
        )
    if not isinstance(every, int) or every < 1 or not isinstance(keep, bool):
        raise ValueError(
            f"gradient_checkpointing: every={every!r} is a whole number from 1, keep_attention="
            f"{keep!r} True or False"
        )
    options = {"use_reentrant": False}
    if keep:
        options["context_fn"] = functools.partial(
            create_selective_checkpoint_contexts, _attention_operators()
        )
    places: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # in order of the first pass

    def run(block: nn.Module, *args):
        if places.setdefault(block, len(places)) % every:
            return block(*args)
        return checkpoint(block.__call__, *args, **options)

    backbone.enable_gradient_checkpointing(run)


def check_compiled(settings: bool | Mapping[str, Any]) -> None:
    """Refuse what a compiled block hides from its recomputation.

    Raises:
        ValueError: attention is to be kept.
    """
    if isinstance(settings, Mapping) and settings.get("keep_attention"):
        raise ValueError(
            "gradient_checkpointing.keep_attention cannot see into compiled blocks: use "
            "dict(every=2), or drop `compile`"
        )


def _attention_operators() -> list:
    found = [getattr(torch.ops.aten, name, None) for name in _FUSED_ATTENTION]
    return [packet.default for packet in found if packet is not None]
