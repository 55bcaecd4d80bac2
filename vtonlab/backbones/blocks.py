"""The repeated blocks of a diffusers network, compiled one by one."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn


def compile_blocks(
    backbone: nn.Module,
    options: bool | Mapping[str, Any] = True,
    *,
    supervised: Sequence[str] = (),
) -> None:
    """``torch.compile`` each repeated block of ``backbone``, in place; the first call compiles.

    Blocks of one class share their code, so compiling takes as long for 57 as for one. Names in
    state dictionaries stay.

    Blocks that training records run as they are written. Recording breaks a compiled block's graph
    in two; a checkpointed block is recomputed in the backward pass, where nobody records, hence as
    one graph, which saves other tensors than the two did. Without gradients (sampling, a probe)
    any layer may be recorded: its block is compiled around it.

    Args:
        options: True, or arguments of ``torch.compile``.
        supervised: names of the attention layers that losses read.

    Raises:
        ValueError: a network that does not say which blocks repeat, or ``fullgraph``.
    """
    settings = dict(options) if isinstance(options, Mapping) else {}
    if settings.get("fullgraph"):
        raise ValueError("compile: fullgraph=True leaves no way to record attention: drop it")
    repeated = getattr(backbone, "_repeated_blocks", None)
    if not repeated:
        raise ValueError(
            f"{type(backbone).__name__} does not say which of its blocks repeat: drop `compile`"
        )
    blocks = [
        block
        for name, block in backbone.named_modules()
        if type(block).__name__ in repeated
        and not any(layer.startswith(f"{name}.") for layer in supervised)
    ]
    if not blocks:
        warnings.warn(
            "compile does nothing: losses read the attention of every block, and such a block runs "
            "as it is written; name fewer layers, or drop `compile`",
            stacklevel=2,
        )
    for block in blocks:
        block.compile(**settings)
