"""Write docs/parity.md: what agrees with the authors' programs, and where we differ on purpose.

Example:
    VTONLAB_PARITY=DIR python tools/parity_report.py

Runs the tests marked ``parity`` (a few minutes on 2 cores) and sets down what they recorded: for
each system every comparison with the largest difference and the tolerance, and every deliberate
departure with its switch and reason. Nothing on the page is written by hand.

Exit codes: 0 done, 1 done but a test failed (the page says which comparison), 2 bad input.
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
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SYSTEMS = ("CORAL", "Leffa", "CatVTON", "StableVITON", "SIFT-VTON", "3D-GCL")  # order of the page
INTRO = """# Parity with the authors' code

Made by `tools/parity_report.py` from what the tests marked `parity` recorded; not written by hand.
The other side of each comparison is a number that the authors' program gave for the same weights
and inputs: tiny random networks where the program allows it, made-up pictures, on the CPU in
float32. *difference* is the largest one of any value, *allowed* what the test lets pass, *values
to* the largest of those compared.

`as_released=True` (`--cfg-options as_released=True`) takes all switches of a system at once;
checkpoints made by `tools/convert/` say so themselves, and `tools/test.py` then needs no flag.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs/parity.md", help="the page")
    parser.add_argument(
        "--results", type=Path, help="records of an earlier run: write the page, run no test"
    )
    return parser.parse_args(argv)


def run_tests(results: Path) -> int:
    """Run the marked tests; each writes what it compares to ``results``. pytest's exit code."""
    environment = {**os.environ, "VTONLAB_PARITY_RESULTS": str(results)}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "parity", "tests"]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records, each once, in a fixed order.

    Raises:
        ValueError: there is none.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    records = {}
    for record in map(json.loads, lines):
        records[record["kind"], record["system"], record["what"]] = record
    if not records:
        raise ValueError(f"{path} holds no record: did the tests marked `parity` run?")
    return [records[key] for key in sorted(records)]


def page(records: list[dict[str, Any]]) -> str:
    """The records as a page."""
    by_system: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_system[record["system"]][record["kind"]].append(record)
    names = [name for name in SYSTEMS if name in by_system]
    names += sorted(name for name in by_system if name not in SYSTEMS)
    parts = [INTRO, _summary(names, by_system)]
    parts += [_system(name, by_system[name]) for name in names]
    return "\n".join(parts)


def _summary(names, by_system) -> str:
    lines = ["| system | comparisons | within what is allowed | deliberate departures |"]
    lines += ["|---|--:|--:|--:|"]
    for name in names:
        compared = by_system[name]["comparison"]
        good = sum(r["difference"] <= r["tolerance"] for r in compared)
        lines.append(f"| {name} | {len(compared)} | {good} | {len(by_system[name]['departure'])} |")
    return "\n".join(lines) + "\n"


def _system(name: str, kinds: dict[str, list[dict]]) -> str:
    lines = [f"## {name}", "", "| compared | difference | allowed | values to |"]
    lines += ["|---|--:|--:|--:|"]
    for record in kinds["comparison"]:
        unit = f" {record['unit']}" if record["unit"] else ""
        bad = "" if record["difference"] <= record["tolerance"] else " **above**"
        scale = "" if record["scale"] is None else _number(record["scale"])
        lines.append(
            f"| {_cell(record['what'])} | {_number(record['difference'])}{unit}{bad} | "
            f"{_number(record['tolerance'])}{unit} | {scale} |"
        )
    if kinds["departure"]:
        lines += ["", "| ours, and theirs | what it changes | switch | why ours is the default |"]
        lines += ["|---|---|---|---|"]
    for record in kinds["departure"]:
        cells = [_cell(record[key]) for key in ("what", "effect", "switch", "reason")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    args = parse_args()
    from vtonlab.engine.cli import FINDINGS, OK

    if args.results:
        records, code = read_records(args.results), 0
    else:
        if not Path(os.environ.get("VTONLAB_PARITY") or "/nonexistent").is_dir():
            raise ValueError(
                "VTONLAB_PARITY does not point to the folder of recorded numbers: set it, or give "
                "the records of an earlier run with --results"
            )
        with tempfile.TemporaryDirectory(prefix="vtonlab-parity-") as folder:
            code = run_tests(Path(folder) / "records.jsonl")
            records = read_records(Path(folder) / "records.jsonl")
    args.out.write_text(page(records), encoding="utf-8")
    print(f"written {args.out}: {len(records)} records")
    return FINDINGS if code else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
