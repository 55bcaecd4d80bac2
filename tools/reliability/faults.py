"""Writes that are cut: killed at a system call, on a full disk, in a folder that is read-only.

Example:
    python tools/reliability/faults.py                # every second call; docs/reliability.md
    python tools/reliability/faults.py --stride 1 --out /tmp/table.md

Each write of `reliability.writes` runs in a fork of this process, which has imported everything,
and is killed with SIGKILL when it enters its first, third, fifth, ... system call. Then a reader
must find what was committed before or what was being written, whole, and the same command must end
with the files of an undisturbed run. A kill is not a power cut: what the system holds for the disk
still gets there. Exit codes: 0 nothing was lost, 1 something was, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import ctypes
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parents[1]))  # the package `reliability`

from reliability.card import Measured  # noqa: E402

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
SMALL_FILE = 48  # bytes that a file may have where the disk is full
VOLATILE = (".lock",)


@dataclass
class Outcome:
    """What became of one kind of write."""

    calls: int = 0
    points: int = 0
    wrong: list[str] = field(default_factory=list)  # point, and what was lost, torn or left over
    told: dict[str, str] = field(default_factory=dict)  # fault -> the sentence, or what was wrong


class Scene:
    """One write in one folder, with the state before it to go back to."""

    def __init__(self, write, folder: Path) -> None:
        self.write, self.work, self.kept = write, folder / "work", folder / "kept"
        self.work.mkdir(parents=True)
        write.before(self.work)
        self.before = write.held(self.work)
        shutil.copytree(self.work, self.kept)
        write.write(self.work)  # undisturbed, which also imports what it needs
        self.after = write.held(self.work)
        write.resume(self.work)
        self.files = self._files()

    def restore(self) -> None:
        shutil.rmtree(self.work)
        shutil.copytree(self.kept, self.work)

    def _files(self) -> list[str]:
        paths = (p.relative_to(self.work).as_posix() for p in self.work.rglob("*"))
        return sorted(path for path in paths if Path(path).name not in VOLATILE)

    def problem(self) -> str:
        """What is wrong after a cut, and after the command was given again; "" for nothing."""
        try:
            now = self.write.held(self.work)
        except Exception as error:
            return f"torn: {type(error).__name__}: {error}"
        for key, value in self.before.items():
            if now.get(key) not in (value, self.after[key]):
                return f"lost: {key}"
        if not all(now[key] in (self.before.get(key), self.after.get(key)) for key in now):
            return "neither the old nor the new"
        self.write.resume(self.work)
        if self.write.held(self.work) != self.after:
            return "not what an undisturbed run leaves"
        if self._files() != self.files:
            return f"left over: {sorted(set(self._files()) ^ set(self.files))}"
        return ""


def killed(scene: Scene, stride: int, most: int | None = None) -> Outcome:
    """Kill the write at every ``stride``-th call, at ``most`` points spread evenly."""
    from reliability.calls import killed_at

    def work() -> None:
        scene.write.write(scene.work)

    scene.restore()
    outcome = Outcome(calls=killed_at(work, 1 << 60))
    calls = list(range(1, outcome.calls + 1, stride))
    for call in calls if most is None else calls[:: max(1, -(-len(calls) // most))]:
        scene.restore()
        if killed_at(work, call) is not None:  # allocation differs by a call now and then
            continue
        outcome.points += 1
        if problem := scene.problem():
            outcome.wrong.append(f"call {call}: {problem}")
    return outcome


def refused(scene: Scene, fault: Callable[[], None]) -> str:
    """The sentence of a write in a fork that ``fault`` has prepared, if nothing was lost by it.

    Raises:
        AssertionError: the write passed, or its error is no sentence of a `WriteError`.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = "it passed"
        try:
            fault()
            scene.write.write(scene.work)
        except BaseException as error:
            from vtonlab.utils.writing import WriteError

            text = str(error) if isinstance(error, WriteError) else repr(error)
            text = f"{'said' if isinstance(error, WriteError) else 'raised'} {text}"
        finally:
            os.write(writer, text.encode()[:4000])
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read().decode(errors="replace")
    os.waitpid(pid, 0)
    if not text.startswith("said "):
        raise AssertionError(text)
    return text.removeprefix("said ")


def full_by_limit() -> None:
    """No file may grow beyond a few bytes: it is told EFBIG where a full disk says ENOSPC."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILE, SMALL_FILE))


def obey_permissions() -> None:
    """Root gives up what lets it write anywhere."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)())


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Folders and files below ``folder`` that may be read alone."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


@contextmanager
def small_disk(folder: Path, size: str = "4m") -> Iterator[bool]:
    """A file system of its own in memory, where mounting is allowed; yields whether it is."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    allowed = shutil.which("mount") and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield bool(allowed)
    finally:
        if allowed:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take every byte of a disk."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler


def faults_of(write, folder: Path, disk_too: bool = True) -> dict[str, str]:
    """Full disk and read-only folder: what was said, or "WRONG: ..." with what was lost.

    Args:
        disk_too: also fill a small file system, where one may be mounted.
    """
    told = {}
    scene = Scene(write, folder / "plain")
    told["full"] = _tried(scene, lambda: refused(scene, full_by_limit))
    scene.restore()
    with unwritable(scene.work):
        said = _asked(lambda: refused(scene, obey_permissions))
    told["read-only"] = said if said.startswith("WRONG") else _told(scene, said)
    if not disk_too:
        return told
    disk = folder / "disk"
    disk.mkdir()
    with small_disk(disk) as allowed:
        if allowed:
            scene = Scene(write, disk / "scene")
            scene.restore()
            filler = fill(disk)
            said = _asked(lambda: refused(scene, lambda: None))
            filler.unlink()
            told["full (tmpfs)"] = said if said.startswith("WRONG") else _told(scene, said)
    return told


def _tried(scene: Scene, ask: Callable[[], str]) -> str:
    scene.restore()
    said = _asked(ask)
    return said if said.startswith("WRONG") else _told(scene, said)


def _asked(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except AssertionError as error:
        return f"WRONG: {error}"


def _told(scene: Scene, said: str) -> str:
    """The sentence, unless the old state is not all there or the command cannot go on."""
    if scene.write.held(scene.work) != scene.before:
        return "WRONG: what was there is not untouched"
    problem = scene.problem()
    return f"WRONG: {problem}" if problem else said


def measure_all(folder: Path, stride: int, most: int | None = None) -> dict[str, Outcome]:
    """Every write, cut everywhere and in every way."""
    import torch
    from reliability.calls import can_trace
    from reliability.writes import writes

    torch.set_num_threads(1)
    outcomes = {}
    for number, (name, write) in enumerate(writes().items()):
        place = folder / str(number)
        outcome = Outcome()
        if can_trace():
            outcome = killed(Scene(write, place / "killed"), stride, most)
        outcome.told = faults_of(write, place)
        outcomes[name] = outcome
        wrong = [f"{key}: {text}" for key, text in outcome.told.items() if text.startswith("WRONG")]
        print(f"{name}: {outcome.points} of {outcome.calls} calls", *outcome.wrong[:3], *wrong)
    return outcomes


def table(outcomes: dict[str, Outcome]) -> str:
    """Markdown: one line a write."""
    faults = list(next(iter(outcomes.values())).told)
    head = ["write", "system calls", "killed at", "lost, torn or stuck", *faults]
    lines = [head, ["---"] * len(head)]
    for name, outcome in outcomes.items():
        said = [
            "**lost**" if v.startswith("WRONG") else "kept, told" for v in outcome.told.values()
        ]
        lines.append(
            [name, str(outcome.calls), str(outcome.points), str(len(outcome.wrong)), *said]
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def nothing_lost(folder: Path) -> Measured:
    """Writes cut at every second call, on full disks and in read-only folders."""
    outcomes = measure_all(folder, 2)
    points = sum(outcome.points for outcome in outcomes.values())
    calls = sum(outcome.calls for outcome in outcomes.values())
    faults = sum(len(outcome.told) for outcome in outcomes.values())
    wrong = broken(outcomes)
    text = f"{len(wrong)} of {points} kills (of {calls} calls) and {faults} faults of "
    text += f"{len(outcomes)} writes"
    if not points and not wrong:
        return Measured(f"{text}; no process may be traced here", None)
    return Measured(text + "".join(f"; {line}" for line in wrong[:3]), not wrong)


def broken(outcomes: dict[str, Outcome]) -> list[str]:
    """Every promise that was not kept."""
    found = [f"{name}: {text}" for name, o in outcomes.items() for text in o.wrong]
    return found + [
        f"{name}, {fault}: {text}"
        for name, outcome in outcomes.items()
        for fault, text in outcome.told.items()
        if text.startswith("WRONG")
    ]


def main() -> int:
    from reliability_report import insert, measured_on

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stride", type=int, default=2, help="kill at every so manieth call")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/reliability.md")
    args = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = measure_all(Path(folder), args.stride)
    command = f"python tools/reliability/faults.py --stride {args.stride}"
    head = measured_on(command, time.perf_counter() - start)
    insert(args.out, f"{head}\n\n{table(outcomes)}", BEGIN, END)
    print(table(outcomes))
    for line in broken(outcomes):
        print(line)
    return int(bool(broken(outcomes)))


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
