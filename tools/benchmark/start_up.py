"""Processor time until a command line is answered, and of `import vtonlab.engine`.

Example:
    python tools/benchmark/start_up.py --out docs/tables/start_up.csv
    python tools/benchmark/start_up.py --against ../older_checkout

Every cell is the least of ``--repeats`` fresh processes: processor seconds, user and system, which
other work on the machine changes little. ``--against`` measures another checkout's files with the
same Python. Exit codes: 0 done, 1 an answer took longer than ``--limit``, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import csv
import os
import platform
import resource
import subprocess

ROOT = Path(__file__).resolve().parents[2]
TOY = "configs/coral/dit_synthetic.py"
ANSWERS = {  # row -> arguments of Python
    "vtonlab --help": ["-m", "vtonlab", "--help"],
    "train.py --help": ["tools/train.py", "--help"],
    "convert/coral.py --help": ["tools/convert/coral.py", "--help"],
    "misspelt option": ["tools/train.py", TOY, "--sed", "1"],
    "misspelt config": ["tools/train.py", "configs/coral/dit_sinthetic.py"],
    "misspelt key": ["tools/train.py", TOY, "--cfg-options", "model.conditioner.pose_panl=1"],
    "misspelt checkpoint": ["tools/test.py", TOY, "iter_120.pth"],
}
IMPORTS = {
    "import vtonlab": ["-c", "import vtonlab"],
    "import vtonlab.engine": ["-c", "import vtonlab.engine"],
    "vtonlab.engine.train": ["-c", "from vtonlab.engine import train"],
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=at_least(1), default=3)
    parser.add_argument("--limit", type=float, default=1.0, help="seconds an answer may take")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument("--out", type=Path, help="CSV file")
    return parser.parse_args(argv)


def processor_seconds(arguments: list[str], root: Path) -> tuple[float, int]:
    """User and system time of one process, and its exit code."""
    env = dict(os.environ, PYTHONPATH=str(root), OMP_NUM_THREADS="1")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=root, env=env, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, done.returncode


def measure(root: Path, repeats: int) -> dict[str, tuple[float, int]]:
    """Row -> least processor seconds, and the exit code."""
    rows = {"an empty Python": ["-c", "pass"], **ANSWERS, **IMPORTS}
    return {
        name: min(processor_seconds(arguments, root) for _ in range(repeats))
        for name, arguments in rows.items()
    }


def _cell(found: tuple[float, int], here: tuple[float, int]) -> str:
    """Empty where a checkout knows no such command, and ends otherwise."""
    return f"{found[0]:.3f}" if found[1] == here[1] else ""


def main() -> int:
    args = parse_args()
    columns = {"here": measure(ROOT, args.repeats)}
    if args.against:
        if not (args.against / "vtonlab").is_dir():
            raise ValueError(f"--against {args.against}: no checkout of vtonlab is there")
        columns["against"] = measure(args.against.resolve(), 1)
    rows = [
        [name, *(_cell(column[name], columns["here"][name]) for column in columns.values())]
        for name in columns["here"]
    ]
    head = ["processor seconds", *columns]
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    for row in [head, *rows]:
        print(f"{row[0]:<24}" + "".join(f"{cell:>10}" for cell in row[1:]))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with open(args.out, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *rows])
    slow = [name for name in ANSWERS if columns["here"][name][0] > args.limit]
    return 1 if slow else 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
