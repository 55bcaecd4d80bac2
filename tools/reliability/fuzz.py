"""Every reader and user of strangers' files against thousands of mutations, in little memory.

Example:
    python tools/reliability/fuzz.py      # 2 000 of each; docs/reliability.md
    python tools/reliability/fuzz.py --times 200 --only PNG tar --out /tmp/table.md

Each container is read in a forked process that may map 2 GiB more than it has at the start and may
take 20 seconds a file. A mutation ends as accepted and equal (what was read is what the honest file
holds), accepted and harmless (something else, of the kind that callers expect), refused (a
``ValueError`` that names the file) or escaped (anything else: another exception, used-up memory, a
crash, a hang). Exit codes: 0 nothing escaped, 1 something did, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import os
import resource
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parents[1]))  # the package `reliability`

from reliability.card import Measured  # noqa: E402

TIMES, SEED = 2000, 0
ROOM = 2 * 2**30  # bytes of address space beyond what is mapped at the start
SECONDS = 20  # of one file
EQUAL, HARMLESS, REFUSED, ESCAPED = "equal", "harmless", "refused", "escaped"
BEGIN, END = "<!-- fuzz: begin -->", "<!-- fuzz: end -->"


@dataclass
class Tally:
    """What became of the mutations of one container."""

    tried: int = 0
    verdicts: Counter = field(default_factory=Counter)
    escapes: list[str] = field(default_factory=list)  # number of the mutation, and what it did
    peak_mib: float = 0.0  # of resident memory, over the start


@cache
def subjects() -> dict[str, Any]:
    """Every container, and every use of one."""
    from reliability.consumers import consumers
    from reliability.containers import containers

    return {**containers(), **consumers()}


def mutation(container: Any, number: int, seed: int = SEED) -> bytes:
    """Mutation ``number`` of a container, by which it is made again."""
    return container.mutate(container.honest(), np.random.default_rng([seed, number]))


def fuzz(name: str, folder: Path, times: int = TIMES, seed: int = SEED) -> Tally:
    """Read ``times`` mutations of a container; a process that dies takes one of them with it."""
    container, tally, number = subjects()[name], Tally(), 0
    notes, path = folder / "notes", folder / f"file{container.suffix}"
    path.write_bytes(container.honest())
    whole = container.read(path)  # what is imported on first use is mapped before the limit
    while number < times:
        notes.write_bytes(b"")
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libjpeg tells what it thinks
            try:
                _read_on(container, path, whole, notes, range(number, times), seed)
            finally:
                os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for line in notes.read_text(encoding="utf-8").splitlines():
            verdict, _, told = line.partition(" ")
            if verdict == "peak":
                tally.peak_mib = max(tally.peak_mib, float(told))
                continue
            tally.verdicts[verdict] += 1
            tally.escapes += [f"{number}: {told}"] if verdict == ESCAPED else []
            number += 1
        if number < times:
            why = f"ended by {signal.Signals(-ended).name}" if ended < 0 else f"exit code {ended}"
            tally.verdicts[ESCAPED] += 1
            tally.escapes.append(f"{number}: {why}")
            number += 1
    tally.tried = times
    return tally


def _read_on(container, path: Path, whole: Any, notes: Path, numbers: range, seed: int) -> None:
    """In the child: one line of notes for each mutation."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ROOM, mapped + ROOM))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(notes, "wb", buffering=0) as out:
        for number in numbers:
            path.write_bytes(mutation(container, number, seed))
            signal.setitimer(signal.ITIMER_REAL, SECONDS)  # its signal ends the process
            verdict = _verdict(container, path, whole)
            signal.setitimer(signal.ITIMER_REAL, 0)
            out.write(" ".join(verdict.split()).encode(errors="replace") + b"\n")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        out.write(f"peak {grown / 1024:.0f}\n".encode())


def _verdict(container, path: Path, whole: Any) -> str:
    try:
        found = container.read(path)
    except ValueError as error:  # FileError is one
        said = f"{type(error).__name__} that names no file: {error}"
        return REFUSED if str(path.parent) in str(error) else f"{ESCAPED} {said}"
    except BaseException as error:
        return f"{ESCAPED} {type(error).__name__}: {str(error)[:200]}"
    return EQUAL if same(found, whole) else HARMLESS


def same(a: Any, b: Any) -> bool:
    """Equal values, arrays bit by bit."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def table(tallies: dict[str, Tally]) -> str:
    """Markdown: one line a container."""
    head = "| container | tried | accepted, equal | accepted, harmless | refused | escaped | peak |"
    lines = [head, "| --- " * 7 + "|"]
    for name, tally in tallies.items():
        counts = [tally.verdicts[key] for key in (EQUAL, HARMLESS, REFUSED, ESCAPED)]
        cells = [name, tally.tried, *counts, f"{tally.peak_mib:.0f} MiB"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def measure_all(names: list[str], times: int, seed: int = SEED) -> dict[str, Tally]:
    """Every container of ``names``, in memory's own file system where there is one."""
    import torch  # noqa: F401  (mapped before any fork)

    shared = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    tallies = {}
    for name in names:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
            tallies[name] = fuzz(name, Path(folder), times, seed)
        counts = dict(tallies[name].verdicts)
        print(f"{name}: {counts} ({time.perf_counter() - start:.0f} s)", flush=True)
        for escape in tallies[name].escapes[:5]:
            print(f"    {escape}", flush=True)
    return tallies


def nothing_escapes(folder: Path, times: int = 200) -> Measured:
    """Mutations of every container that end in another way than read or refused by name."""
    tallies = {}
    for number, name in enumerate(subjects()):
        (folder / str(number)).mkdir()
        tallies[name] = fuzz(name, folder / str(number), times)
    escaped = [f"{name} {text}" for name, tally in tallies.items() for text in tally.escapes]
    refused = sum(tally.verdicts[REFUSED] for tally in tallies.values())
    tried = sum(tally.tried for tally in tallies.values())
    text = f"{len(escaped)} of {tried} ({refused} refused by name, {tried - refused} read)"
    return Measured(text + "".join(f"; {line}" for line in escaped[:3]), not escaped)


def main() -> int:
    from reliability_report import insert, measured_on

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=TIMES, help="mutations of each container")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these containers alone")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/reliability.md")
    args = parser.parse_args()
    names = args.only or list(subjects())
    unknown = sorted(set(names) - set(subjects()))
    if unknown:
        raise ValueError(f"no container {unknown[0]!r}: choose of {', '.join(subjects())}")
    start = time.perf_counter()
    tallies = measure_all(names, args.times, args.seed)
    command = f"python tools/reliability/fuzz.py --times {args.times} --seed {args.seed}"
    head = measured_on(command, time.perf_counter() - start)
    insert(args.out, f"{head}\n\n{table(tallies)}", BEGIN, END)
    print(table(tallies))
    return int(any(tally.escapes for tally in tallies.values()))


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
