"""Optimiser wrappers: non-finite numbers stop before they reach a parameter; bf16, fp16; several.

``FiniteOptimWrapper`` trains in float32, ``AutocastOptimWrapper`` in bfloat16 or float16, and
``MultiOptimWrapperConstructor`` gives each named part of a model a wrapper of its own.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from vtonlab.engine.parallel.sharding import clip_gradients, gradient_norm, scattered_optimizer
from vtonlab.engine.running.registries import OPTIM_WRAPPER_CONSTRUCTORS
from vtonlab.registry import OPTIM_WRAPPERS


class NonFiniteError(FloatingPointError):
    """A loss or gradient was NaN or infinite; no parameter was changed by it."""


@OPTIM_WRAPPERS.register_module()
class FiniteOptimWrapper(OptimWrapper):
    """mmengine's wrapper with one check before each step (reliability.md 3.8).

    The gradient norm is computed once per step, logged as ``train/grad_norm`` (with several
    optimisers as ``train/<name>.grad_norm``), used to clip and tested to be finite. A non-finite
    loss is found before its backward pass; ranks agree first, so that all of them stop. What was
    being trained on is named by ``SampleTraceHook``.

    Args:
        optimizer: built by mmengine from ``optimizer=dict(type=...)``.
        accumulative_counts: iterations per optimiser step.
        clip_grad: ``dict(max_norm=..., norm_type=2)``; None does not clip.
        on_nonfinite: "raise", or "skip" the step and count it.
        max_skips: with "skip": more skips than this raise.

    Raises:
        ValueError: an argument outside its range.
        NonFiniteError: from ``update_params``.
    """

    def __init__(
        self,
        *,
        optimizer: torch.optim.Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
        on_nonfinite: str = "raise",
        max_skips: int = 10,
    ) -> None:
        if accumulative_counts < 1:
            raise ValueError(f"accumulative_counts must be >= 1, not {accumulative_counts}")
        if on_nonfinite not in ("raise", "skip"):
            raise ValueError(f"on_nonfinite={on_nonfinite!r}: choose 'raise' or 'skip'")
        if clip_grad is not None and "max_norm" not in clip_grad:
            raise ValueError(
                f"clip_grad needs max_norm, such as dict(max_norm=1.0), not {clip_grad}"
            )
        if clip_grad is not None and not clip_grad["max_norm"] > 0:
            raise ValueError(f"clip_grad.max_norm={clip_grad['max_norm']}: more than 0, or None")
        if max_skips < 0:
            raise ValueError(f"max_skips={max_skips}: at least 0")
        super().__init__(optimizer=optimizer, accumulative_counts=accumulative_counts)
        self.clip = dict(clip_grad) if clip_grad else None
        self.on_nonfinite = on_nonfinite
        self.max_skips = max_skips
        self.name = ""  # of the model's part that it trains, where there are several
        self.skips = 0
        self._poisoned = False  # a non-finite loss was met since the last step

    def update_params(
        self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None
    ) -> None:
        """Backward, and where the accumulation is complete a checked step."""
        if self._agree_nonfinite(loss.detach()):
            if self.on_nonfinite == "raise":
                raise NonFiniteError(f"the {self._of()}loss is {float(loss.detach())}")
            self._poisoned = True
        super().update_params(loss, step_kwargs, zero_kwargs)

    def step(self, **kwargs) -> None:
        """Clip and step, unless a gradient is not finite."""
        norm, value, parameters = self._norm()
        if self._poisoned or not math.isfinite(value):
            self._poisoned = False
            self._refuse(value)
            return
        self._clip(parameters, norm)
        self.optimizer.step(**kwargs)

    def state_dict(self) -> dict:
        """The optimiser's state, and how many steps were skipped."""
        return super().state_dict() | (dict(skips=self.skips) if self.skips else {})

    def load_state_dict(self, state_dict: dict) -> None:
        """What ``state_dict`` gave, in whole tensors; sharded parameters take their share."""
        state = dict(state_dict)
        self.skips = state.pop("skips", 0)
        super().load_state_dict(scattered_optimizer(state, self.optimizer))

    def _norm(self) -> tuple[Tensor, float, list[nn.Parameter]]:
        """Norm of all gradients, its value (the one wait of a step for a device), which is logged,
        and the parameters that have one.
        """
        groups = self.optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        norm_type = self.clip.get("norm_type", 2) if self.clip else 2
        norm = gradient_norm(parameters, norm_type)
        prefix = f"{self.name}." if self.name else ""
        value = float(norm)
        self.message_hub.update_scalar(f"train/{prefix}grad_norm", value)
        return norm, value, parameters

    def _clip(self, parameters: list[nn.Parameter], norm: Tensor) -> None:
        if self.clip:
            clip_gradients(parameters, self.clip["max_norm"], norm)

    def _refuse(self, norm: float) -> None:
        if self.on_nonfinite == "raise":
            raise NonFiniteError(f"the {self._of()}gradient norm is {norm}")
        self.skips += 1
        print_log(
            f"non-finite {self._of()}step skipped ({self.skips} of at most {self.max_skips}): "
            f"gradient norm {norm}",
            logger="current",
        )
        if self.skips > self.max_skips:
            raise NonFiniteError(f"{self.skips} non-finite steps, more than max_skips")

    def _of(self) -> str:
        return f"{self.name} " if self.name else ""

    @staticmethod
    def _agree_nonfinite(loss: Tensor) -> bool:
        flag = (~torch.isfinite(loss)).any().float()
        if is_distributed():
            all_reduce(flag, op="max")
        return bool(flag)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(FiniteOptimWrapper):
    """Half-precision forward through ``torch.autocast`` on CPU and CUDA; float32 parameters.

    float16 gets torch's gradient scaler, the one that mmengine's GPU-only ``AmpOptimWrapper`` uses;
    its state is saved and resumed. There an infinite gradient is normal: the scaler leaves out the
    step and halves its scale. Only a run of them, or a loss that is not finite, is an error.

    Args:
        dtype: "bfloat16", or "float16".
        loss_scale: first scale of the float16 scaler.
        max_overflows: with float16, more left-out steps in a row than this raise.
        (others): as ``FiniteOptimWrapper``.

    Raises:
        ValueError: another ``dtype``.
    """

    def __init__(
        self,
        *,
        optimizer: torch.optim.Optimizer,
        dtype: str = "bfloat16",
        loss_scale: float = 65536.0,
        max_overflows: int = 20,
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
        on_nonfinite: str = "raise",
        max_skips: int = 10,
    ) -> None:
        if dtype not in ("bfloat16", "float16"):
            raise ValueError(
                f"AutocastOptimWrapper dtype={dtype!r}: choose 'bfloat16' or 'float16'; for "
                f"float32 use optim_wrapper=dict(type='FiniteOptimWrapper')"
            )
        super().__init__(
            optimizer=optimizer,
            accumulative_counts=accumulative_counts,
            clip_grad=clip_grad,
            on_nonfinite=on_nonfinite,
            max_skips=max_skips,
        )
        self.dtype, self.max_overflows = getattr(torch, dtype), max_overflows
        self.device = optimizer.param_groups[0]["params"][0].device.type
        self.scaler = None
        self.overflows = 0
        if dtype == "float16":
            self.scaler = torch.amp.GradScaler(self.device, init_scale=loss_scale)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass, on the device of the parameters."""
        with super().optim_context(model), torch.autocast(self.device, dtype=self.dtype):
            yield

    def backward(self, loss: Tensor, **kwargs) -> None:
        """Of the scaled loss where there is a scaler."""
        super().backward(loss if self.scaler is None else self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs) -> None:
        """As ``FiniteOptimWrapper``; with a scaler, an overflow leaves out the step."""
        if self.scaler is None:
            super().step(**kwargs)
            return
        self.scaler.unscale_(self.optimizer)
        norm, value, parameters = self._norm()
        finite = math.isfinite(value)
        if finite:
            self._clip(parameters, norm)
        poisoned, self._poisoned = self._poisoned, False
        if not poisoned:  # by a loss that was not finite, with on_nonfinite="skip"
            self.scaler.step(self.optimizer, **kwargs)  # not where a gradient is not finite
        self.scaler.update()
        if poisoned:
            self._refuse(value)
        self.overflows = 0 if finite else self.overflows + 1
        if self.overflows > self.max_overflows:
            raise NonFiniteError(
                f"{self.overflows} steps in a row overflowed float16, the last at a loss scale of "
                f"{self.scaler.get_scale():g}; train with dtype='bfloat16'"
            )

    def state_dict(self) -> dict:
        """The optimiser's state, and the scaler's."""
        state = super().state_dict()
        if self.scaler is not None:
            state["loss_scaler"] = {**self.scaler.state_dict(), "overflows": self.overflows}
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """What ``state_dict`` gave; a run that changed to float16 starts with a fresh scaler."""
        state = dict(state_dict)
        saved = state.pop("loss_scaler", None)
        if saved is not None and self.scaler is not None:
            saved = dict(saved)
            self.overflows = saved.pop("overflows", 0)
            self.scaler.load_state_dict(saved)
        super().load_state_dict(state)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MultiOptimWrapperConstructor:
    """One optimiser wrapper for each named part of a model, as adversarial training needs.

    ``optim_wrapper=dict(constructor="MultiOptimWrapperConstructor", generator=dict(type=...,
    optimizer=...), discriminator=dict(...))``. A part is a submodule of that name; with
    ``modules=["a", "b"]`` beside ``type`` it is several. The model's ``train_step(data,
    optim_wrapper)`` receives the ``OptimWrapperDict``.

    Raises:
        ValueError: a name that is no submodule, a parameter in two parts, or a trainable one in
            none.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg:
            raise ValueError("set paramwise_cfg inside each part of optim_wrapper")
        self.parts = optim_wrapper_cfg

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        model = getattr(model, "module", model)
        wrappers, owners = {}, {}
        for name, settings in self.parts.items():
            settings = dict(settings)
            modules = _submodules(model, settings.pop("modules", [name]))
            for place, parameter in modules.named_parameters():
                if owners.setdefault(id(parameter), name) != name:
                    raise ValueError(
                        f"optim_wrapper.{name} and optim_wrapper.{owners[id(parameter)]} both "
                        f"train {place}: each parameter belongs to one"
                    )
            settings.setdefault("type", "FiniteOptimWrapper")
            paramwise = settings.pop("paramwise_cfg", None)
            wrapper = DefaultOptimWrapperConstructor(settings, paramwise)(modules)
            wrapper.name = name
            wrappers[name] = wrapper
        idle = [k for k, p in model.named_parameters() if p.requires_grad and id(p) not in owners]
        if idle:
            raise ValueError(
                f"no part of optim_wrapper trains {len(idle)} parameters of the model, the first "
                f"is {idle[0]}: name its module in one of {', '.join(self.parts)}, or freeze it"
            )
        return OptimWrapperDict(**wrappers)


def _submodules(model: nn.Module, names: Sequence[str]) -> nn.ModuleDict:
    children = dict(model.named_children())
    for name in names:
        if name not in children:
            raise ValueError(
                f"optim_wrapper names {name!r}, which is no part of {type(model).__name__}: its "
                f"parts are {', '.join(children)}"
            )
    bare = {name: getattr(children[name], "module", children[name]) for name in names}
    return nn.ModuleDict(bare)
