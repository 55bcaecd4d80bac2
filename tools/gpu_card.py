"""One command that proves or refutes on a GPU what this package promises: exact, fast, small.

Every section is measured in processes of its own, with random weights and drawn data; nothing is
downloaded. A row says what was measured, its target, and whether it passes. What is done already
stands in `--out` and is not measured again; rows of an earlier card (`--before`) stand where this
run measured nothing of the name.

Example:
    python tools/gpu_card.py --out work_dirs/gpu_card
    python tools/gpu_card.py --toy --out work_dirs/toy_card      # a minute on a CPU: the same code

Writes `rows.json` and `card.md`. Exit codes: 0 all pass, 1 a row fails, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module

SECTIONS = (
    "estimated", "statistics_truth", "losses_truth", "together", "compiled", "training",
    "statistics_cost", "sampling", "existing",
)  # fmt: skip
USUAL_SECONDS = 20  # of a cell that says nothing


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs/gpu_card"))
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--toy", action="store_true", help="sizes for a CPU")
    parser.add_argument("--tune", action="store_true", help="first find how to cut maps here")
    parser.add_argument("--jobs", type=int, default=12, help="processes that compare at once")
    parser.add_argument("--minutes", type=float, default=10.0, help="what does not fit is left out")
    parser.add_argument("--only", nargs="+", default=(), help="parts of names of cells")
    parser.add_argument("--before", type=Path, help="rows.json of an earlier card")
    parser.add_argument("--commit", help="of the code, where git cannot say")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if args.worker:
        return worker(json.loads(args.worker), args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    cells = [
        {"section": name, "number": number, **cell}
        for name in args.sections
        for number, cell in enumerate(import_module(f"tools.card.{name}").cells(args.toy))
    ]
    cells = [cell for cell in cells if chosen(cell, args.only)]
    together = [cell for cell in cells if import_module(f"tools.card.{cell['section']}").PARALLEL]
    alone = [cell for cell in cells if cell not in together]
    if args.tune:
        together += compile_cells(args.jobs)
        alone = [{"section": "tune"}, *alone]

    def left() -> float:
        return 60 * args.minutes - (time.monotonic() - begun)

    half = left() / 2 if alone else left()  # comparisons leave room for what is timed
    with ThreadPoolExecutor(args.jobs) as pool:
        for _ in pool.map(
            lambda cell: run_cell(cell, args.out, left() - (60 * args.minutes - half)), together
        ):
            pass
    print(f"comparisons done after {time.monotonic() - begun:.0f} s", flush=True)
    write(cells, args)
    for cell in alone:
        run_cell(cell, args.out, left())
        if cell["section"] == "tune":
            print((args.out / "tune_0.log").read_text())
        print(f"{name_of(cell)} done after {time.monotonic() - begun:.0f} s", flush=True)
        write(cells, args)
    rows = write(cells, args)
    print(summary(rows))
    return int(any(row["ok"] is False for row in rows))


def chosen(cell: dict, parts: list[str]) -> bool:
    """Whether a cell is asked for: all are where no part of a name is given."""
    said = f"{name_of(cell)} {json.dumps(cell)}"
    return not parts or any(part in said for part in parts)


def write(cells: list[dict], args: argparse.Namespace) -> list[dict]:
    """Rows so far, with those of an earlier card, as `rows.json` and `card.md`."""
    here = device() | {"commit": args.commit or commit()}
    rows = [here | row for cell in cells for row in known(cell, args.out) or ()]
    names = {(row["section"], row["name"]) for row in rows}
    if args.before:
        earlier = json.loads(args.before.read_text())
        rows = [row for row in earlier if (row["section"], row["name"]) not in names] + rows
        rows.sort(key=lambda row: row["section"])
    (args.out / "rows.json").write_text(json.dumps(rows, indent=1))
    (args.out / "card.md").write_text(table(rows))
    return rows


@cache
def device() -> dict:
    """Card, driver and versions."""
    import torch

    found = {"card": "CPU", "driver": ""}
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=True)
        found["card"], found["driver"] = answer.stdout.strip().splitlines()[0].split(", ")
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        pass
    return found | {"torch": torch.__version__}


@cache
def commit() -> str:
    """Of the checkout, or nothing."""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    return done.stdout.strip()


def compile_cells(jobs: int) -> list[dict]:
    """Cells that fill Triton's cache with what a tuning run tries."""
    from tools.card.tuning import variants

    found = variants()
    return [{"section": "compile", "number": i, "some": found[i::jobs]} for i in range(jobs)]


def name_of(cell: dict) -> str:
    return f"{cell['section']}_{cell.get('number', 0)}"


def known(cell: dict, out: Path) -> list[dict] | None:
    """Rows of a cell that was measured, else None."""
    path = out / f"{name_of(cell)}.json"
    return json.loads(path.read_text()) if path.exists() else None


def run_cell(cell: dict, out: Path, seconds: float) -> None:
    """Measure a cell in a process of its own, unless its rows are there or time is too short."""
    if known(cell, out) is not None:
        return
    if seconds < cell.get("seconds", USUAL_SECONDS):
        print(f"{name_of(cell)} left out: {seconds:.0f} s are left", flush=True)
        return
    command = [sys.executable, __file__, "--out", str(out), "--worker", json.dumps(cell)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        print(f"{name_of(cell)} was cut off after {seconds:.0f} s", flush=True)
        return
    (out / f"{name_of(cell)}.log").write_text(done.stdout + done.stderr)
    if "CUDA error" in done.stderr:
        run_blocking(command, out / f"{name_of(cell)}_blocking.log", seconds)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        last = next((line for line in reversed(lines) if "Error: " in line), lines[-1])[:300]
        print(f"{name_of(cell)} failed: {last}", flush=True)
        failed = {
            "section": import_module(f"tools.card.{cell['section']}").SECTION,
            "name": f"{name_of(cell)} {cell.get('name', '')}".strip(), "ok": False, "target": "",
            "error": last,
        }  # fmt: skip
        path = out / f"{name_of(cell)}.json"
        path.write_text(json.dumps([*(known(cell, out) or ()), failed]))


def run_blocking(command: list[str], log: Path, seconds: float) -> None:
    """A cell that crashed once more, so that the trace in `log` ends at the call that did."""
    again = [part if part != command[3] else str(log.with_suffix("")) for part in command]
    log.with_suffix("").mkdir(exist_ok=True)
    blocking = os.environ | {"CUDA_LAUNCH_BLOCKING": "1"}
    with log.open("w") as told, suppress(subprocess.TimeoutExpired):
        subprocess.run(again, stdout=told, stderr=told, env=blocking, timeout=seconds)


def worker(cell: dict, out: Path) -> int:
    """The work of one cell; its rows go to a file."""
    if cell["section"] == "compile":
        from tools.card.tuning import compile_some

        compile_some(cell["some"])
        rows = []
    elif cell["section"] == "tune":
        from tools.card.tuning import tune

        rows = []
        (out / "blocks.json").write_text(json.dumps(tune()))
    else:
        if (out / "blocks.json").exists():
            cell["blocks"] = json.loads((out / "blocks.json").read_text())
        cell |= {"out": str(out), "file": str(out / f"{name_of(cell)}.json")}
        rows = import_module(f"tools.card.{cell['section']}").run(cell)
    (out / f"{name_of(cell)}.json").write_text(json.dumps(rows))
    return 0


def table(rows: list[dict]) -> str:
    """Markdown: where it was measured, then a table a section."""
    lines = ["# GPU card", "", "Written by `python tools/gpu_card.py`.", ""]
    said = ("card", "driver", "torch", "commit")
    for place in dict.fromkeys(tuple(row.get(key, "") for key in said) for row in rows):
        count = sum(tuple(row.get(key, "") for key in said) == place for row in rows)
        card, driver, torch, commit = place
        lines.append(f"- {count} rows: {card}, driver {driver}, torch {torch}, commit {commit}")
    passed, failed = (sum(row["ok"] is ok for row in rows) for ok in (True, False))
    lines.append(f"- {passed} pass, {failed} fail; the others have no target")
    for section in dict.fromkeys(row["section"] for row in rows):
        lines += [
            f"\n## {section}\n",
            "| row | measured | target | | on |",
            "|---|---|---|---|---|",
        ]
        for row in (row for row in rows if row["section"] == section):
            verdict = {True: "pass", False: "FAIL", None: ""}[row["ok"]]
            words = row["name"], measured(row), row.get("target", ""), verdict, place_of(row)
            lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines) + "\n"


def place_of(row: dict) -> str:
    """The card of a row in a word, and the commit."""
    card = row.get("card", "").removeprefix("NVIDIA ").partition(" ")[0]
    return f"{card} {row.get('commit', '')}".strip()


def measured(row: dict) -> str:
    """All numbers of a row."""
    apart = ("section", "name", "ok", "target", "card", "driver", "torch", "commit")
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row.items()
        if key not in apart
    )


def summary(rows: list[dict]) -> str:
    """The costs, what failed, and how many passed."""
    lines = []
    for row in rows:
        if row["ok"] is False or not row["section"].startswith("a."):
            mark = {True: "pass", False: "FAIL", None: "    "}[row["ok"]]
            lines.append(f"{mark} {row['name']}: {measured(row)} [{row.get('target', '')}]")
    passed = sum(row["ok"] is True for row in rows)
    lines.append(f"{passed} rows pass, {sum(row['ok'] is False for row in rows)} fail")
    return "\n".join(lines)


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
