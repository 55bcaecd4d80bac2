"""AdamW with moments of 8 bits, which bitsandbytes brings."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from vtonlab.engine.running.registries import OPTIMIZERS


@OPTIMIZERS.register_module(name="AdamW8bit")
def adamw_8bit(
    params: Iterable[nn.Parameter | dict],
    *,
    lr: float,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> torch.optim.Optimizer:
    """2 bytes of state a parameter instead of 8; small tensors keep float32 moments.

    Raises:
        ImportError: bitsandbytes is not installed.
    """
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise ImportError("AdamW8bit needs bitsandbytes: pip install bitsandbytes") from error
    return AdamW8bit(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
