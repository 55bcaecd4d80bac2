"""torch's AdamW in one kernel where it has one."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from vtonlab.engine.running.registries import OPTIMIZERS


@OPTIMIZERS.register_module(name="AdamW")
def adamw(
    params: Iterable[nn.Parameter | dict],
    *,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
    maximize: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
) -> torch.optim.AdamW:
    """``torch.optim.AdamW``; equal up to the last digit either way.

    Args:
        fused: None: wherever all parameters are whole, on a CPU or CUDA, and ``foreach`` is not
            asked for. It needs no copies of parameters as the other ways do.
        (others): torch's.
    """
    params = list(params)
    groups = params if params and isinstance(params[0], dict) else [{"params": params}]
    for group in groups:
        group["params"] = list(group["params"])
    if fused is None:
        fused = not foreach and fits_one_kernel(p for group in groups for p in group["params"])
    settings = dict(lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
    settings |= dict(amsgrad=amsgrad, maximize=maximize, foreach=foreach, fused=fused)
    return torch.optim.AdamW(groups, **settings)


def fits_one_kernel(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether torch's fused step takes these."""
    return all(
        p.device.type in ("cpu", "cuda") and p.is_floating_point() and not isinstance(p, DTensor)
        for p in parameters
    )
