"""The repeated blocks of a diffusers network, compiled one by one."""

from collections.abc import Mapping
from typing import Any

from torch import nn


def compile_blocks(backbone: nn.Module, options: bool | Mapping[str, Any] = True) -> None:
    """``torch.compile`` each repeated block of ``backbone``, in place; the first call compiles.

    Blocks of one class share their code, so compiling takes as long for 57 as for one. Names in
    state dictionaries stay, and an attention layer that is being recorded runs as it is written
    (the block is compiled around it).

    Args:
        options: True, or arguments of ``torch.compile``.

    Raises:
        ValueError: a network that does not say which blocks repeat, or ``fullgraph``.
    """
    settings = dict(options) if isinstance(options, Mapping) else {}
    if settings.get("fullgraph"):
        raise ValueError("compile: fullgraph=True leaves no way to record attention: drop it")
    if not getattr(backbone, "_repeated_blocks", None):
        raise ValueError(
            f"{type(backbone).__name__} does not say which of its blocks repeat: drop `compile`"
        )
    backbone.compile_repeated_blocks(**settings)
