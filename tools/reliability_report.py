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
    from reliability.rows import rows

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
