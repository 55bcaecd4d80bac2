"""A loss that teaches nothing is told, once, while a run can still be mended."""

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import Tensor, nn

from vtonlab.engine.parallel.sharding import is_sharded
from vtonlab.registry import HOOKS


@HOOKS.register_module()
class DeadLossHook(Hook):
    """Warns of each ``loss_<name>`` whose gradient on every parameter is exactly 0, or whose
    ``<name>_active`` share is 0, for ``patience`` steps on end.

    The gradient of one loss costs a backward pass of its own, so it is asked for at every
    ``interval``-th step; after one that is 0 at every step, until one is not. What such a pass
    finds is thrown away: training does not change. Shares are counted on their device and read
    when the count may have come to ``patience``: waiting for it at each step would idle a GPU.
    Steps at which a loss has not set in yet (``start_iter``) do not count. Where parameters are
    sharded, compiled, or more than ``most_parameters`` train, the active share alone is watched.

    Args:
        patience: steps on end.
        interval: steps between looks at a loss that was alive.
        most_parameters: whose gradients may be held once more.
    """

    priority = "VERY_HIGH"
    only_while_training = True

    def __init__(
        self, *, patience: int = 50, interval: int = 100, most_parameters: int = 50_000_000
    ) -> None:
        if patience < 1 or interval < 1:
            raise ValueError(f"patience={patience} and interval={interval} must both be >= 1")
        self.patience, self.interval, self.most_parameters = patience, interval, most_parameters
        self.dead: dict[str, int] = {}  # loss -> steps on end without a gradient
        self.idle: dict[str, Tensor] = {}  # loss -> steps on end without a sample, on its device
        self._read_at: dict[str, int] = {}  # loss -> step before which that cannot be `patience`
        self.told: set[str] = set()
        self._step = 0
        self._handle = None

    def before_train(self, runner) -> None:
        """Listen to the model's loss dictionary, before it is summed."""
        model = runner.bare_model
        parameters = [p for p in model.parameters() if p.requires_grad]
        held = sum(parameter.numel() for parameter in parameters)
        compiled = any(m._compiled_call_impl is not None for m in model.modules())
        if held > self.most_parameters or compiled or is_sharded(model):
            parameters = []

        def look(module: nn.Module, inputs, output) -> None:
            if module.training and isinstance(output, dict) and torch.is_grad_enabled():
                self.look(module, output, parameters)

        self._handle = model.register_forward_hook(look)

    def after_train(self, runner) -> None:
        """Stop listening."""
        self._handle.remove()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._step = runner.iter

    def look(self, model: nn.Module, losses: dict[str, Tensor], parameters: list[Tensor]) -> None:
        """Count the steps on end at which each loss is dead."""
        own = getattr(model, "attention_losses", {})
        for key in [k for k in losses if k.startswith("loss_") and k not in self.told]:
            name = key.removeprefix("loss_")
            if name in own and own[name].ramp(self._step) == 0.0:
                continue
            active = losses.get(f"{name}_active")
            idle = active is not None and self._idle_for(key, active) >= self.patience
            due = self._step % self.interval == 0 or self.dead.get(key, 0) > 0
            if due and parameters:
                self.dead[key] = self.dead.get(key, 0) + 1
                if not _no_gradient(losses[key], parameters):
                    self.dead[key] = 0
            if idle or self.dead.get(key, 0) >= self.patience:
                self.told.add(key)
                print_log(
                    f"{key} has taught nothing for {self.patience} steps, up to step "
                    f"{self._step + 1}: {_reason(float(losses[key].detach().sum()), idle)}",
                    logger="current",
                    level=30,
                )

    def _idle_for(self, key: str, active: Tensor) -> int:
        """Steps on end without a sample, this one with them; 0 where they are too few to matter."""
        active = active.detach()
        count = self.idle.get(key)
        count = torch.zeros_like(active) if count is None else count
        self.idle[key] = torch.where(active == 0, count + 1, torch.zeros_like(count))
        if self._step < self._read_at.setdefault(key, self._step + self.patience - 1):
            return 0
        found = int(self.idle[key])
        self._read_at[key] = self._step + max(1, self.patience - found)
        return found


def _no_gradient(loss: Tensor, parameters: list[Tensor]) -> bool:
    """Whether the gradient of ``loss`` on every parameter is exactly 0."""
    if not loss.requires_grad:
        return True
    found = torch.autograd.grad(loss.sum(), parameters, retain_graph=True, allow_unused=True)
    return not any(gradient is not None and bool(gradient.any()) for gradient in found)


def _reason(value: float, idle: bool) -> str:
    if idle:
        return (
            "no sample of these batches was supervised (no matches or no true flow in the data, or "
            "every noise level outside t_max)"
        )
    if value == 0.0:
        return "its value is 0: there is nothing to supervise, its weight is 0, or it is fulfilled"
    return (
        f"its value is {value:.4g} and yet its gradient on every parameter is exactly 0: a softmax "
        "so sharp that it is flat (raise the temperature), a clamp, or an input that was detached"
    )
