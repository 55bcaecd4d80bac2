"""Measure every promise of the reliability card again and write it into docs/reliability.md.

Example:
    python tools/reliability_report.py
    python tools/reliability_report.py --only typos bomb --out /tmp/card.md

Takes a few minutes on two cores. ``--full`` also kills runs of the demo config (60 iterations) as
tools/reliability/kills.py does. Nothing is taken over from an earlier measurement. Exit codes:
0 every promise kept, 1 one is not, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import datetime
import os
import platform
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # the package `reliability`

BEGIN, END = "<!-- card: begin -->", "<!-- card: end -->"
PACKAGES = ("torch", "mmengine", "diffusers", "numpy", "pillow", "safetensors")


def rows(full: bool) -> dict:
    """Name -> Row, in the order of the card."""
    from reliability import files, hostile_configs, inputs, processes, runs
    from reliability.card import Row

    found = {
        "resume": Row(
            "a resumed run equals the uninterrupted one",
            "tensors and numbers that differ, 8 iterations against 4 + 4",
            "0",
            "cannot load; 3.1e-3 after repair",
            runs.resumed_equals_whole,
        ),
        "workers": Row(
            "the same bits for any number of loader workers",
            "distinct MD5 of all tensors over 0, 1, 2 workers",
            "1",
            "2 or more",
            runs.same_bits_for_any_workers,
        ),
        "decoded": Row(
            "resuming loads no past sample",
            "samples decoded again on resume at 10 000 iterations",
            "0",
            "40 000 (batch 4)",
            runs.decoded_again,
        ),
        "kills": Row(
            "kill -9 while saving leaves a run that resumes, and no torn file",
            "20 kills at random moments, two files kept; keeping one is refused",
            "0 unusable, 0 torn",
            "keep=2: 0 and 3; keep=1: 16 and 6",
            files.kills_while_saving,
        ),
        "damage": Row(
            "silent corruption of a checkpoint is found",
            "20 flipped bits and 20 cuts",
            "40",
            "20 (flipped bits: 0)",
            files.damage,
        ),
        "memory": Row(
            "saving needs no second copy in memory",
            "growth of the resident high-water mark / file",
            "< 5 %",
            "100 %",
            files.save_memory,
        ),
        "nan": Row(
            "NaN is found before a parameter changes",
            "one poisoned sample; parameters compared; iteration and samples named",
            "yes",
            "no",
            runs.nan_stops_before_the_step,
        ),
        "typos": Row(
            "config typos stop before iteration 1",
            "13 typos in the demo's config",
            "13",
            "7 (one more at the first save)",
            inputs.typos,
        ),
        "hostile": Row(
            "nothing hostile is executed",
            "pickle in a checkpoint, code in meta.config, JSON type of a function (--safe)",
            "0 of 3",
            "2 or 3",
            inputs.hostile_files,
        ),
        "configs": Row(
            "no config runs code, reads the environment, hangs or leaves its folder (--safe)",
            "configs by somebody hostile, each of another kind, with a canary",
            "0",
            "executes them",
            hostile_configs.hostile_configs_refused,
        ),
        "bomb": Row(
            "a decompression bomb costs no memory",
            "PNG of 20 000 x 20 000 pixels, peak over base",
            "< 50 MiB",
            "2 500 MiB",
            inputs.bomb,
        ),
        "truncated": Row(
            "pictures cut short are found",
            "5 formats x 4 cuts",
            "20",
            "read as None or passed",
            inputs.truncated,
        ),
        "middle": Row(
            "pictures damaged in the middle are found",
            "20 JPEG files with 200 random bytes, hashes recorded before",
            "20",
            "0",
            inputs.damaged_middles,
        ),
        "metric": Row(
            "a metric of two processes equals that of one",
            "largest difference, 7 pictures",
            "0 (float order: 1e-6)",
            "depends on padding",
            processes.metric_of_two,
        ),
        "death": Row(
            "a dying rank ends the run",
            "seconds until both processes are gone",
            "< 15",
            "9",
            processes.rank_dies,
        ),
        "resize": Row(
            "one resize, equal to Pillow's",
            "zone plate, mean absolute difference in grey levels",
            "< 0.01",
            "20-26",
            inputs.resizing,
        ),
        "overhead": Row(
            "guards and safe seeding cost little",
            "time inside them / training step of the demo, one thread",
            "<= 2 %",
            "-",
            runs.overhead,
        ),
    }
    if full:
        found["disturbed"] = Row(
            "a run killed three times ends with the bits of a calm one",
            "60 iterations: SIGKILL x 3 (one inside a save) with 0 and 2 workers, SIGTERM once",
            "0 differ",
            "cannot load",
            runs.killed_three_times,
        )
    return found


def measure(chosen: dict) -> tuple[list[tuple], bool]:
    """One line of the table for each row, and whether every promise is kept."""
    lines, kept = [], True
    for name, row in chosen.items():
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix=f"card-{name}-") as folder:
            try:
                text, met = row.measure(Path(folder))
            except Exception as error:
                text, met = f"measurement failed: {type(error).__name__}: {error}", False
        seconds = time.perf_counter() - start
        kept &= met is not False
        verdict = {True: "kept", False: "**broken**", None: "no subject yet"}[met]
        text = " ".join(text.split()).replace("|", "/")
        lines.append((row.promise, row.how, row.target, text, verdict, row.plain_mmengine))
        print(f"{verdict:>14}  {name}: {text} ({seconds:.0f} s)", flush=True)
    return lines, kept


def card(lines: list[tuple], command: str, seconds: float) -> str:
    """The card as Markdown, with what it was measured on."""
    head = ("promise", "measured how", "target", "measured", "", "plain mmengine 0.10.7")
    table = [head, ("---",) * len(head), *lines]
    told = f"{measured_on(command, seconds)} Seconds are on the wall, shares in processor time."
    return "\n".join([told, "", *("| " + " | ".join(cells) + " |" for cells in table)])


def measured_on(command: str, seconds: float) -> str:
    """By which command, on which machine, with which versions."""
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Measured on {datetime.date.today():%d %B %Y} by `{command}` in {seconds / 60:.1f} "
        f"minutes, commit {_commit()}: {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, load average {os.getloadavg()[2]:.1f}, no GPU, Python "
        f"{platform.python_version()}, {packages}."
    )


def _commit() -> str:
    import subprocess

    command = ["git", "rev-parse", "--short", "HEAD"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return result.stdout.strip() or "unknown"


def insert(page: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put a text between its two marks; a page that is not there becomes the text alone."""
    old = page.read_text(encoding="utf-8") if page.is_file() else f"{begin}\n{end}\n"
    if begin not in old or end not in old:
        raise ValueError(f"{page} has no {begin} ... {end} to write between")
    before, rest = old.split(begin, 1)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="ROW", help="measure these rows alone")
    parser.add_argument("--full", action="store_true", help="also kill runs of the demo config")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/reliability.md")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    found = rows(args.full)
    unknown = sorted(set(args.only or ()) - set(found))
    if unknown:
        raise ValueError(f"no row {unknown[0]!r}: choose of {', '.join(found)}")
    if args.only and args.out == ROOT / "docs/reliability.md":
        raise ValueError("--only would write half a card: give another --out")
    start = time.perf_counter()
    lines, kept = measure({k: v for k, v in found.items() if not args.only or k in args.only})
    command = "python tools/reliability_report.py" + (" --full" if args.full else "")
    insert(args.out, card(lines, command, time.perf_counter() - start))
    print(f"written to {args.out}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from vtonlab.engine.cli import run_tool

    run_tool(main)
