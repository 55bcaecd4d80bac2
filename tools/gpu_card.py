"""One command that proves or refutes on a GPU what this package promises: exact, fast, small.

Every section is measured in processes of its own, with random weights and drawn data; nothing is
downloaded. A row says what was measured, its target, and whether it passes. What is done already
stands in `--out` and is not measured again.

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
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

SECTIONS = ("statistics_truth", "losses_truth", "compiled", "statistics_cost", "existing")


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
    together = [cell for cell in cells if import_module(f"tools.card.{cell['section']}").PARALLEL]
    alone = [cell for cell in cells if cell not in together]
    if args.tune:
        together += compile_cells(args.jobs)
        alone = [{"section": "tune"}, *alone]
    with ThreadPoolExecutor(args.jobs) as pool:
        for _ in pool.map(lambda cell: run_cell(cell, args.out), together):
            pass
    print(f"comparisons done after {time.monotonic() - begun:.0f} s", flush=True)
    for cell in alone:
        run_cell(cell, args.out)
        if cell["section"] == "tune":
            print((args.out / "tune_0.log").read_text())
        print(f"{cell['section']} done after {time.monotonic() - begun:.0f} s", flush=True)
    rows = [row for cell in cells for row in known(cell, args.out) or ()]
    (args.out / "rows.json").write_text(json.dumps(rows, indent=1))
    (args.out / "card.md").write_text(table(rows))
    print(summary(rows))
    return int(any(row["ok"] is False for row in rows))


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


def run_cell(cell: dict, out: Path) -> None:
    """Measure a cell in a process of its own, unless its rows are there."""
    if known(cell, out) is not None:
        return
    command = [sys.executable, __file__, "--out", str(out), "--worker", json.dumps(cell)]
    done = subprocess.run(command, capture_output=True, text=True)
    (out / f"{name_of(cell)}.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]
        print(f"{name_of(cell)} failed: {last}", flush=True)
        failed = {"section": cell["section"], "name": name_of(cell), "ok": False, "error": last}
        (out / f"{name_of(cell)}.json").write_text(json.dumps([failed]))


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
        rows = import_module(f"tools.card.{cell['section']}").run(cell)
    (out / f"{name_of(cell)}.json").write_text(json.dumps(rows))
    return 0


def table(rows: list[dict]) -> str:
    """Markdown, a table a section."""
    lines = []
    for section in dict.fromkeys(row["section"] for row in rows):
        lines += [f"\n## {section}\n", "| row | measured | target | |", "|---|---|---|---|"]
        for row in (row for row in rows if row["section"] == section):
            verdict = {True: "pass", False: "FAIL", None: ""}[row["ok"]]
            lines.append(
                f"| {row['name']} | {measured(row)} | {row.get('target', '')} | {verdict} |"
            )
    return "\n".join(lines) + "\n"


def measured(row: dict) -> str:
    """All numbers of a row."""
    apart = ("section", "name", "ok", "target")
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row.items()
        if key not in apart
    )


def summary(rows: list[dict]) -> str:
    """The costs, what failed, and how many passed."""
    lines = []
    for row in rows:
        if row["ok"] is False or row["section"].startswith("b."):
            mark = {True: "pass", False: "FAIL", None: "    "}[row["ok"]]
            lines.append(f"{mark} {row['name']}: {measured(row)} [{row.get('target', '')}]")
    passed = sum(row["ok"] is True for row in rows)
    lines.append(f"{passed} rows pass, {sum(row['ok'] is False for row in rows)} fail")
    return "\n".join(lines)


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
