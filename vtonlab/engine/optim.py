"""Optimiser wrappers: non-finite numbers stop before they reach a parameter; bf16 anywhere."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from vtonlab.registry import OPTIM_WRAPPERS


class NonFiniteError(FloatingPointError):
    """A loss or gradient was NaN or infinite; no parameter was changed by it."""


@OPTIM_WRAPPERS.register_module()
class FiniteOptimWrapper(OptimWrapper):
    """mmengine's wrapper with one check before each step (RELIABILITY.md 3.8).

    The gradient norm is computed once per step, logged as ``train/grad_norm``, used to clip and
    tested to be finite. A non-finite loss is found before its backward pass; ranks agree first, so
    that all of them stop. What was being trained on is named by ``SampleTraceHook``.

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
        super().__init__(optimizer=optimizer, accumulative_counts=accumulative_counts)
        self.clip = dict(clip_grad) if clip_grad else None
        self.on_nonfinite = on_nonfinite
        self.max_skips = max_skips
        self.skips = 0
        self._poisoned = False  # a non-finite loss was met since the last step

    def update_params(
        self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None
    ) -> None:
        """Backward, and where the accumulation is complete a checked step."""
        if self._agree_nonfinite(loss.detach()):
            if self.on_nonfinite == "raise":
                raise NonFiniteError(f"the loss is {float(loss.detach())}")
            self._poisoned = True
        super().update_params(loss, step_kwargs, zero_kwargs)

    def step(self, **kwargs) -> None:
        """Clip and step, unless a gradient is not finite."""
        parameters = [
            p
            for group in self.optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        gradients = [p.grad for p in parameters]
        norm_type = self.clip.get("norm_type", 2) if self.clip else 2
        norm = torch.nn.utils.get_total_norm(gradients, norm_type=norm_type)
        value = float(norm)
        self.message_hub.update_scalar("train/grad_norm", value)
        if self._poisoned or not torch.isfinite(norm):
            self._poisoned = False
            self._refuse(value)
            return
        if self.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip["max_norm"], norm)
        self.optimizer.step(**kwargs)

    def _refuse(self, norm: float) -> None:
        if self.on_nonfinite == "raise":
            raise NonFiniteError(f"the gradient norm is {norm}")
        self.skips += 1
        print_log(
            f"non-finite step skipped ({self.skips} of at most {self.max_skips}): "
            f"gradient norm {norm}",
            logger="current",
        )
        if self.skips > self.max_skips:
            raise NonFiniteError(f"{self.skips} non-finite steps, more than max_skips")

    @staticmethod
    def _agree_nonfinite(loss: Tensor) -> bool:
        flag = (~torch.isfinite(loss)).any().float()
        if is_distributed():
            all_reduce(flag, op="max")
        return bool(flag)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(FiniteOptimWrapper):
    """bfloat16 forward through ``torch.autocast`` on CPU and CUDA; no scaler, float32 parameters.

    mmengine's ``AmpOptimWrapper`` refuses to run without a GPU; it stays the one for float16.

    Args:
        dtype: "bfloat16" only: float16 needs a gradient scaler, so ``AmpOptimWrapper``.
        (others): as ``FiniteOptimWrapper``.

    Raises:
        ValueError: another ``dtype``.
    """

    def __init__(
        self,
        *,
        optimizer: torch.optim.Optimizer,
        dtype: str = "bfloat16",
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
        on_nonfinite: str = "raise",
        max_skips: int = 10,
    ) -> None:
        if dtype != "bfloat16":
            raise ValueError(
                f"AutocastOptimWrapper dtype={dtype!r}: only 'bfloat16'; for float16 use "
                f"optim_wrapper=dict(type='AmpOptimWrapper', dtype='float16') on a GPU"
            )
        super().__init__(
            optimizer=optimizer,
            accumulative_counts=accumulative_counts,
            clip_grad=clip_grad,
            on_nonfinite=on_nonfinite,
            max_skips=max_skips,
        )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass, on the device of the model's parameters."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
