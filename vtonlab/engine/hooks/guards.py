"""Guards around a step: what was trained on when a number was not finite; signals that end runs."""

import signal
import sys

import torch
import torch.distributed as dist
from mmengine.dist import is_distributed
from mmengine.hooks import Hook

from vtonlab.engine.hooks.checkpointing import SafeCheckpointHook, accumulative_counts
from vtonlab.registry import HOOKS

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


@HOOKS.register_module()
class SampleTraceHook(Hook):
    """Remembers the iteration, its sample ids and its loss parts, for ``describe``."""

    priority = "VERY_HIGH"
    only_while_training = True  # tests run without it

    def __init__(self) -> None:
        self.iteration = 0
        self.ids: list[str] = []
        self.losses: dict[str, torch.Tensor] = {}
        self._handle = None

    def before_train(self, runner) -> None:
        """Listen to the model's loss dictionary."""
        model = getattr(runner.model, "module", runner.model)
        self._handle = model.register_forward_hook(self._keep)

    def after_train(self, runner) -> None:
        """Stop listening."""
        self._handle.remove()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Note what this iteration is about to train on."""
        self.iteration = runner.iter + 1
        self.losses = {}
        ids = data_batch.get("id") if isinstance(data_batch, dict) else None
        self.ids = [str(i) for i in ids] if ids is not None else []

    def _keep(self, module, inputs, output) -> None:
        if isinstance(output, dict):
            self.losses = {k: v.detach() for k, v in output.items() if torch.is_tensor(v)}

    def describe(self) -> str:
        """One clause: iteration, loss parts, sample ids."""
        parts = ", ".join(f"{k}={float(v.mean()):.4g}" for k, v in self.losses.items())
        ids = ", ".join(self.ids) or "unknown"
        return f"iteration {self.iteration} ({parts or 'no loss parts'}; samples {ids})"


@HOOKS.register_module()
class SaveOnSignalHook(Hook):
    """First SIGTERM or Ctrl-C: finish the iteration, save, exit 143 or 130. Second: exit at once.

    With gradient accumulation the optimiser step is completed first. Ranks agree, so that all of
    them stop after the same iteration.
    """

    priority = "LOWEST"
    only_while_training = True  # tests run without it

    def __init__(self) -> None:
        self.received = 0
        self._previous: dict = {}
        self._group = None  # of the processes' hosts: agreeing must not wait for their devices

    def before_train(self, runner) -> None:
        """Take over the two signals."""
        if is_distributed() and dist.get_backend() != "gloo":
            self._group = dist.new_group(backend="gloo")
        for number in EXIT_CODES:
            self._previous[number] = signal.signal(number, self._note)

    def after_train(self, runner) -> None:
        """Give the signals back."""
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _note(self, number: int, frame) -> None:
        if self.received:
            sys.exit(EXIT_CODES[number])
        self.received = number

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save and leave, if asked to and at a boundary of the accumulation."""
        received = self._agreed()
        done = runner.iter + 1
        if not received or done % accumulative_counts(runner.optim_wrapper):
            return
        for hook in runner.hooks:
            if isinstance(hook, SafeCheckpointHook):
                hook.save_now(runner)
        name = signal.Signals(received).name
        runner.logger.info(f"{name}: stopped after iteration {done}; continue with --resume")
        runner.visualizer.close()
        self.after_train(runner)
        sys.exit(EXIT_CODES[signal.Signals(received)])

    def _agreed(self) -> int:
        if not is_distributed():
            return self.received
        flag = torch.tensor(self.received)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
        return int(flag)
