"""The memory that a training run takes, beside what was expected of it."""

import re
from pathlib import Path

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log

from vtonlab.engine.memory.estimate import GIB, estimate_memory, report
from vtonlab.engine.parallel.sharding import own_share
from vtonlab.registry import HOOKS

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@HOOKS.register_module()
class MemoryReportHook(Hook):
    """Logs the estimate (``tools/train.py --estimate``) and, twice, the measured peak.

    On a GPU the peak is torch's count of allocated bytes. On the CPU it is what the process grew
    by, with the model's own bytes: the allocator keeps what it once had, so small models read
    high there. Where the system tells neither, nothing is measured.

    Args:
        iterations: after which the peak is logged first; the end of training is the second time.
    """

    priority = "LOW"

    def __init__(self, *, iterations: int = 3) -> None:
        self.iterations = iterations
        self.expected: int | None = None
        self.base = 0  # bytes of the process that are not the training's
        self.measured: int | None = None

    def before_train(self, runner) -> None:
        """Estimate, and start to measure."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            with torch.random.fork_rng(devices=[]):
                parts = estimate_memory(runner.cfg, device, get_world_size())
        except ValueError as error:
            print_log(f"memory: no estimate ({error})", logger="current")
        else:
            self.expected = parts["total"]
            print_log(f"memory expected at the peak:\n{report(parts)[0]}", logger="current")
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif _RESET.exists():
            _RESET.write_text("5")  # the peak starts from here
            tensors = [*runner.bare_model.parameters(), *runner.bare_model.buffers()]
            own = sum(own_share(t).untyped_storage().nbytes() for t in tensors)
            self.base = _resident("VmRSS") - own

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Log once the first steps are over."""
        self.iterations -= 1
        if self.iterations == 0:
            self._log("so far")

    def after_train(self, runner) -> None:
        """Log at the end."""
        self._log("of the whole run")

    def _log(self, when: str) -> None:
        if torch.cuda.is_available():
            self.measured = torch.cuda.max_memory_allocated()
        elif _STATUS.exists():
            self.measured = _resident("VmHWM") - self.base
        if self.measured is None:
            return
        text = f"memory measured, peak {when}: {self.measured / GIB:.3f} GiB"
        if self.expected:
            ratio = self.measured / self.expected
            text += f"; expected {self.expected / GIB:.3f} GiB, ratio {ratio:.2f}"
        print_log(text, logger="current")


def _resident(name: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
    return int(found.group(1)) * 1024
