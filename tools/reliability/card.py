"""A row of the report card: what is promised, how it is measured, what came out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Measured(NamedTuple):
    """What a measurement found; ``met`` is None where its subject does not exist yet."""

    text: str
    met: bool | None


@dataclass(frozen=True)
class Row:
    """One promise. ``measure`` gets an empty folder and returns what it found."""

    promise: str
    how: str
    target: str
    plain_mmengine: str  # the same, measured in plain mmengine 0.10.7 with OpenCV
    measure: Callable[[Path], Measured]


def forked(function: Callable[[], float]) -> float:
    """Run ``function`` in a forked process of its own and return its number.

    Raises:
        RuntimeError: it failed.
    """
    import multiprocessing

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(function()))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f"{function.__name__} failed in its process") from None
    finally:
        process.join()


def peak_bytes(function: Callable[[], object]) -> int:
    """Growth of this process's resident high-water mark while ``function`` runs (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the old mark
    before = _high_water()
    function()
    return _high_water() - before


def _high_water() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system has no VmHWM in /proc/self/status")
