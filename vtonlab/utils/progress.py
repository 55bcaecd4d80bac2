"""Progress of long work on the terminal: done, rate and time left."""

import sys
import time


class Progress:
    """A line on stderr that renews itself on a terminal; elsewhere one every ten seconds.

    Args:
        unit: What is counted, in the plural ("samples").
    """

    def __init__(self, unit: str) -> None:
        self.unit, self.live = unit, sys.stderr.isatty()
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, found: int, total: int) -> None:
        """Say that ``done`` of ``total`` are there, ``found`` of them before this run began."""
        now = time.monotonic()
        if done < total and now - self.last < (0.2 if self.live else 10):
            return
        self.last = now
        print(
            f"{self.line(done, found, total, now - self.start):60}",
            end="\r" if self.live and done < total else "\n",
            file=sys.stderr,
            flush=True,
        )

    def line(self, done: int, found: int, total: int, seconds: float) -> str:
        """The text: ``12/64 samples, 4.1/s, ETA 0:13``."""
        rate = (done - found) / max(seconds, 1e-6)
        left = round((total - done) / rate) if rate else 0
        return f"{done}/{total} {self.unit}, {rate:.1f}/s, ETA {left // 60}:{left % 60:02d}"
