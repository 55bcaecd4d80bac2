"""Programs side by side, each in a process group of its own, none of which outlives the caller."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 20.0  # seconds that a program has to save what it holds
PAUSE = 0.1  # seconds between two looks


@dataclass(frozen=True)
class Program:
    """A command under a name; what it prints is appended to ``log``."""

    name: str
    command: Sequence[str]
    log: Path


def side_by_side(
    programs: Sequence[Program], jobs: int, until: float = float("inf"), patience: float = PATIENCE
) -> Iterator[tuple[str, int]]:
    """Run ``programs``, at most ``jobs`` at a time; yields name and exit status as each one ends.

    At ``until`` (seconds since the epoch) what still runs is asked to end (SIGTERM) and what waits
    is left out. Whatever is left ``patience`` seconds later, or when the generator is closed, is
    killed with all that it started: close it (``contextlib.closing``) where the loop may be left.
    """
    waiting, running = list(programs), {}
    try:
        while (waiting or running) and time.time() < until:
            while waiting and len(running) < jobs:
                program = waiting.pop(0)
                running[program.name] = _start(program)
            ended = [name for name, process in running.items() if process.poll() is not None]
            for name in ended:
                yield name, _end(running.pop(name))
            if not ended:
                time.sleep(PAUSE)
        for process in running.values():
            process.send_signal(signal.SIGTERM)  # not its workers: it needs them until it has saved
        until = time.time() + patience
        for name in list(running):
            try:
                running[name].wait(max(until - time.time(), 0))
            except subprocess.TimeoutExpired:
                pass
            yield name, _end(running.pop(name))
    finally:
        for process in running.values():
            _end(process)


def _start(program: Program) -> subprocess.Popen:
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with open(program.log, "a", encoding="utf-8") as log:
        return subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _end(process: subprocess.Popen) -> int:
    """Kill a program, if it still runs, and what it left behind; returns its exit status."""
    try:
        os.killpg(process.pid, signal.SIGKILL)  # the group outlives its leader
    except ProcessLookupError:
        pass
    return process.wait()


def leave_on_sigterm() -> None:
    """Make SIGTERM an exception (``SystemExit(143)``), so that what is open is closed."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
