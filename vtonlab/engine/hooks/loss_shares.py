"""How much each loss weighs in their sum at the start, while weights can be corrected."""

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log

from vtonlab.registry import HOOKS


@HOOKS.register_module()
class LossShareHook(Hook):
    """Prints, once, the mean share of each ``loss_*`` in their sum over the first iterations.

    METHODS.md A10: attention losses should start at 5 to 10 % of the diffusion loss. A loss that
    is setting in or ending counts as with its whole weight, one that has not set in has share 0.

    Args:
        iterations: after which the report is printed.
        main: the loss that the others are compared with.
        wanted: range of another loss's part of the main one, in which nothing is remarked.
    """

    priority = "LOW"

    def __init__(
        self,
        *,
        iterations: int = 100,
        main: str = "loss_diffusion",
        wanted: tuple[float, float] = (0.05, 0.1),
    ) -> None:
        self.iterations, self.main, self.wanted = iterations, main, wanted
        self.sums: dict[str, float | torch.Tensor] = {}
        self.acted: dict[str, int] = {}  # iterations in which each had some weight
        self.seen = 0
        self.first = 1

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Add up; the numbers leave the device at the report only."""
        if self.seen >= self.iterations:
            return
        if not self.seen:
            self.first = batch_idx + 1  # of a resumed run not 1
        for name, value in (outputs or {}).items():
            if name.startswith("loss_"):
                ramp = _ramp(runner, name.removeprefix("loss_"), batch_idx)
                value = value.detach().float() / ramp if ramp else 0.0
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.acted[name] = self.acted.get(name, 0) + bool(ramp)
        self.seen += 1
        if self.seen == self.iterations:
            print_log(self.report(), logger="current")

    def report(self) -> str:
        """One line for each loss."""
        means = {n: float(value) / max(self.acted[n], 1) for n, value in self.sums.items()}
        total, reference = sum(means.values()), means.get(self.main, 0.0)
        last = self.first + self.seen - 1
        lines = [f"losses at their whole weight, mean of iterations {self.first} to {last}:"]
        for name, mean in means.items():
            line = (
                f"  {name}: {mean:.4g}, {mean / total:.1%} of the sum" if total else f"  {name}: 0"
            )
            if name != self.main and reference:
                line += f", {mean / reference:.1%} of {self.main}{self._remark(mean / reference)}"
            lines.append(line)
        return "\n".join(lines)

    def _remark(self, part: float) -> str:
        low, high = self.wanted
        if part == 0 or low <= part <= high:
            return ""
        factor = (low + high) / 2 / part
        return f" ({low:.0%} to {high:.0%} is usual: multiply its weight by {factor:.2g})"


def _ramp(runner, name: str, step: int) -> float:
    """Share of its weight with which an attention loss acts at a step; 1 of any other."""
    losses = getattr(getattr(runner, "bare_model", None), "attention_losses", None) or {}
    return losses[name].ramp(step) if name in losses else 1.0
