"""What a step gave, for the log, read off its device only where the log is written."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer
from torch import Tensor

from vtonlab.registry import HOOKS

MOST_PENDING = 4096  # numbers that may wait on the device


class Pending:
    """Numbers on a device that belong at the end of series; all are read at once."""

    def __init__(self) -> None:
        self.entries: list[tuple[LateHistory, Tensor]] = []

    def note(self, series: "LateHistory", value: Tensor) -> None:
        """One number, a tensor of one element."""
        self.entries.append((series, value.detach().reshape(())))
        if len(self.entries) >= MOST_PENDING:
            self.read()

    def read(self) -> None:
        """Wait for them, once."""
        entries, self.entries = self.entries, []
        if not entries:
            return
        kind = reduce(torch.promote_types, (value.dtype for _, value in entries))
        numbers = torch.stack([value.to(kind) for _, value in entries]).tolist()
        grown: dict[int, tuple[LateHistory, list]] = {}
        for (series, _), number in zip(entries, numbers, strict=True):
            grown.setdefault(id(series), (series, []))[1].append(number)
        for series, added in grown.values():
            series.extend(added)


class LateHistory(HistoryBuffer):
    """mmengine's series of numbers, the last of which may still be on a device.

    Whoever reads it, by whichever method, reads all that is pending first.
    """

    def __init__(
        self, pending: Pending, values: Sequence[float] = (), counts: Sequence[float] = ()
    ) -> None:
        self.pending = pending
        super().__init__(values, counts)

    def extend(self, values: Sequence[float]) -> None:
        """Append numbers that have been read."""
        self._values = np.concatenate([self._values, values])[-self.max_length :]
        ones = np.ones(len(values), dtype=self._counts.dtype)
        self._counts = np.concatenate([self._counts, ones])[-self.max_length :]

    @property
    def _log_history(self) -> np.ndarray:  # every method of mmengine's reads these two
        self.pending.read()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self.pending.read()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts


@HOOKS.register_module()
class LateRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's hook, which waits for the device at each number of each step, without the waits.

    Losses and monitors stay where they are until a logger, a checkpoint or anybody else reads a
    series of the message hub; then all that came since are read at once.
    """

    def before_run(self, runner) -> None:
        """As mmengine's."""
        super().before_run(runner)
        self.pending = Pending()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Note what the step gave."""
        scalars = runner.message_hub.log_scalars
        for key, value in (outputs or {}).items():
            name = f"train/{key}"
            if not torch.is_tensor(value):
                runner.message_hub.update_scalar(name, value)
                continue
            series = scalars.get(name)
            if not isinstance(series, LateHistory):  # none yet, or that of a run that is resumed
                series = LateHistory(self.pending, *(series.data if series is not None else ()))
                scalars[name] = series
            self.pending.note(series, value)
