"""Exponential moving average of the trained parameters, with warm-up."""

from collections import OrderedDict
from copy import deepcopy

import torch
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn

from vtonlab.engine.parallel.parts import plain_keys, wrapped_parts
from vtonlab.engine.parallel.sharding import is_sharded, own_share
from vtonlab.registry import MODELS


@MODELS.register_module()
class WarmupEMA(ExponentialMovingAverage):
    """Average whose decay grows as (1 + n) / (warmup + n) up to ``1 - momentum``.

    Early averages then forget the random start quickly. Frozen parameters are shared with the
    model instead of copied, so that an average of a LoRA costs the LoRA only; so are those that the
    model names in ``train_only_prefixes``, such as a discriminator's: inference has no use for
    them. Used through mmengine's hook: ``dict(type="EMAHook", ema_type="WarmupEMA",
    momentum=1e-4)``.

    Args:
        model: the model to average.
        momentum: weight of the newest parameters once warm, in (0, 1).
        warmup: n above is the number of updates so far; 1 switches the warm-up off.
        interval: iterations between updates; set it to ``accumulative_counts``.
        device: where the average lives; None: with the model.
        update_buffers: average buffers too.

    Raises:
        ValueError: ``momentum`` or ``warmup`` out of range.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        momentum: float = 1e-4,
        warmup: float = 10.0,
        interval: int = 1,
        device: torch.device | None = None,
        update_buffers: bool = False,
    ) -> None:
        if not 0.0 < momentum < 1.0:
            raise ValueError(f"WarmupEMA momentum must lie in (0, 1), not {momentum}")
        if warmup < 1.0:
            raise ValueError(f"WarmupEMA warmup must be >= 1 (1: none), not {warmup}")
        named = plain_keys(dict(model.named_parameters()), model)
        trained = {name for name, p in named.items() if p.requires_grad}
        averaged = {name for name in trained if not name.startswith(_not_averaged(model))}
        super().__init__(
            _Sharing(model),
            momentum=momentum,
            interval=interval,
            device=device,
            update_buffers=update_buffers,
        )
        self.warmup = warmup
        for name, parameter in self.module.named_parameters():
            # mmengine marks all as frozen; state dictionaries that leave out what is frozen
            # (vtonlab.models.adapters) must see the same parameters as in the model
            parameter.requires_grad_(name in trained)
        if not update_buffers:
            self.avg_parameters = {k: p for k, p in self.avg_parameters.items() if k in averaged}

    def update_parameters(self, model: nn.Module) -> None:
        """Average what ``model`` has now, all parameters in a few kernels; its parts may be
        distributed one by one.
        """
        model = _Named(model) if wrapped_parts(model) else model
        steps = int(self.steps)
        if self.update_buffers or steps == 0 or steps % self.interval:
            super().update_parameters(model)
            return
        sources = dict(model.named_parameters())
        averaged = {k: p for k, p in self.avg_parameters.items() if p.is_floating_point()}
        own = [own_share(p.data) for p in averaged.values()]
        theirs = [own_share(sources[k].data).to(p.device) for k, p in averaged.items()]
        if own:
            torch._foreach_lerp_(own, theirs, self._weight(steps))
        for mine, source in zip(self.module.buffers(), model.buffers(), strict=True):
            mine.data.copy_(source.data)
        self.steps += 1

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """averaged += (1 - decay) * (source - averaged), in place."""
        own_share(averaged_param).lerp_(own_share(source_param), self._weight(int(steps)))

    def _weight(self, steps: int) -> float:
        """1 - decay."""
        warm = (self.warmup - 1.0) / (self.warmup + steps // self.interval)
        return max(self.momentum, warm)  # warm = 1 - (1 + n) / (warmup + n)


class _Named:
    """Stands for a module with wrapped parts; its parameters have the names of one process."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.buffers = model, model.buffers

    def named_parameters(self):
        return plain_keys(dict(self.model.named_parameters()), self.model).items()

    def state_dict(self) -> dict:
        return plain_keys(self.model.state_dict(), self.model)


def _not_averaged(model: nn.Module) -> tuple[str, ...]:
    return tuple(getattr(model, "train_only_prefixes", ()))


class _Sharing:
    """Stands for a module; copying it copies the module except the parameters that are not
    averaged.

    What distributes a part of it is not copied.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __deepcopy__(self, memo: dict) -> nn.Module:
        named = plain_keys(dict(self.model.named_parameters()), self.model)
        prefixes = _not_averaged(self.model)
        shared = [p for k, p in named.items() if not p.requires_grad or k.startswith(prefixes)]
        memo.update({id(p): p for p in shared})
        if is_sharded(self.model):
            return _bare_copy(self.model, memo)
        for name in wrapped_parts(self.model):
            part = getattr(self.model, name)
            memo[id(part)] = deepcopy(part.module, memo)
        return deepcopy(self.model, memo)


def _bare_copy(module: nn.Module, memo: dict) -> nn.Module:
    """Copy of a sharded module, which torch refuses to copy: parameters, buffers and what hangs on
    state dictionaries, without ``forward``.
    """
    copied = nn.Module()
    copied.__dict__.update(vars(module))
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        copied.__dict__[name] = OrderedDict()
    copied._buffers = deepcopy(module._buffers, memo)
    copied._modules = {k: m and _bare_copy(m, memo) for k, m in module._modules.items()}
    copied._parameters = {
        name: p if p is None or id(p) in memo else nn.Parameter(p.detach().clone())
        for name, p in module._parameters.items()
    }
    return copied
