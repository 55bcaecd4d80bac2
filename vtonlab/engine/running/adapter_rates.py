"""A learning rate and a schedule of its own for each named adapter.

optim_wrapper = dict(
    constructor="AdapterOptimWrapperConstructor",
    type="FiniteOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4),
    adapters=dict(try_off=dict(lr=2e-4)),
)
param_scheduler = [dict(type="AdapterLR", adapter="try_off", warmup=500, end=20000)]
"""

import math
from collections.abc import Mapping

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch import nn
from torch.optim import Optimizer

from vtonlab.engine.running.registries import (
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
)
from vtonlab.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class AdapterOptimWrapperConstructor:
    """One optimiser with a group of parameters for each adapter that ``adapters`` names, and one
    for all that trains beside them.

    ``adapters`` is name -> settings of the group (``lr``, ``weight_decay``, whatever the optimiser
    takes); what it does not say is the optimiser's.

    Raises:
        ValueError: an adapter without a parameter that trains.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg:
            raise ValueError("paramwise_cfg and adapters exclude each other")
        self.settings = dict(optim_wrapper_cfg)
        self.adapters: Mapping[str, Mapping] = self.settings.pop("adapters", {})

    def __call__(self, model: nn.Module) -> OptimWrapper:
        model = getattr(model, "module", model)
        named = {name: [] for name in self.adapters}
        rest = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                owner = next((key for key in named if f".{key}." in name), None)
                (rest if owner is None else named[owner]).append(parameter)
        for name, parameters in named.items():
            if not parameters:
                raise ValueError(
                    f"optim_wrapper.adapters.{name}: no parameter of an adapter of that name "
                    "trains; the model's `adapters` name them"
                )
        groups = [
            dict(self.adapters[name], params=parameters, adapter=name)
            for name, parameters in named.items()
        ]
        groups += [dict(params=rest)] if rest else []
        settings = dict(self.settings)
        settings.setdefault("type", "FiniteOptimWrapper")
        settings["optimizer"] = OPTIMIZERS.build(dict(settings["optimizer"], params=groups))
        return OPTIM_WRAPPERS.build(settings)


@PARAM_SCHEDULERS.register_module()
class AdapterLR(_ParamScheduler):
    """The learning rate of one adapter: up over ``warmup`` steps, then down to ``floor`` of it at
    ``end``, by a cosine, or kept (``decay="constant"``). Other groups are left alone.

    Where the list holds schedules of the whole optimiser too, put this one behind them: it sets the
    rate, whatever it was.

    Args:
        optimizer: of `AdapterOptimWrapperConstructor`.
        adapter: whose rate it is.
        warmup: steps of the rise.
        end: step of the lowest rate.
        decay: ``"cosine"`` or ``"constant"``.
        floor: share of the rate that is left at ``end``.
        begin: step before which the rate is 0: an adapter that sets in later.

    Raises:
        ValueError: the optimiser has no group of that adapter, or a setting outside its range.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimWrapper,
        *,
        adapter: str,
        end: int,
        warmup: int = 0,
        decay: str = "cosine",
        floor: float = 0.0,
        begin: int = 0,
        by_epoch: bool = False,
        last_step: int = -1,
        verbose: bool = False,
    ) -> None:
        groups = [group.get("adapter") for group in optimizer.param_groups]
        if adapter not in groups:
            raise ValueError(
                f"AdapterLR: the optimiser has no group of adapter {adapter!r}, only of "
                f"{', '.join(filter(None, groups)) or 'none'}: name it in optim_wrapper.adapters"
            )
        if decay not in ("cosine", "constant"):
            raise ValueError(f"AdapterLR: decay={decay!r}: choose 'cosine' or 'constant'")
        if not 0 <= begin <= begin + warmup <= end or not 0.0 <= floor <= 1.0:
            raise ValueError(
                f"AdapterLR: begin={begin}, warmup={warmup}, end={end}, floor={floor}: "
                "0 <= begin, begin + warmup <= end and a share in [0, 1] are needed"
            )
        if by_epoch:
            raise ValueError("AdapterLR counts iterations: by_epoch=False")
        self.adapter, self.warmup, self.decay, self.floor = adapter, warmup, decay, floor
        self.first, self.last = begin, end
        super().__init__(optimizer, "lr", 0, math.inf, last_step, by_epoch, verbose)

    def share(self, step: int) -> float:
        """Of the adapter's rate at a step."""
        done = step - self.first
        if done < 0:
            return 0.0
        if done < self.warmup:
            return (done + 1) / (self.warmup + 1)
        if self.decay == "constant":
            return 1.0
        length = max(self.last - self.first - self.warmup, 1)
        angle = math.pi * min((done - self.warmup) / length, 1.0)
        return self.floor + (1.0 - self.floor) * (1.0 + math.cos(angle)) / 2

    def _get_value(self) -> list[float]:
        share = self.share(self.last_step)
        return [
            share * group["initial_lr"] if group.get("adapter") == self.adapter else group["lr"]
            for group in self.optimizer.param_groups
        ]
