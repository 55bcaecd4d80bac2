"""The results folder: results.json, per_image.csv and the pictures, written and read here alone."""

import csv
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vtonlab.structures.pair_store import sweep, write_atomic
from vtonlab.utils.bounded import NUMBER, WORD, FileError, check_form, naming, read_json, reason_of
from vtonlab.version import __version__

FORMAT = 1
RESULTS, PER_IMAGE = "results.json", "per_image.csv"
NEXT = ".per_image_{}.csv"  # the table of a results.json that is being written
IDS = ("id", "garment_id", "category", "index")
FILES = tuple(
    f"{name}_file"
    for name in (
        *("generated", "repainted", "scored", "person", "garment", "agnostic", "mask", "target"),
        "attention",
    )
)
PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "mmengine", "numpy", "pillow"),
    *("opencv-python", "torchmetrics", "clean-fid", "scikit-image", "scipy"),
)

_TEXTS = {...: str}
FORM = {  # of results.json, where what it holds is shown or compared
    "system!": str,
    "setting": (None, str),
    "metrics": {...: WORD},
    "directions": (None, _TEXTS),
    "intervals": (None, {...: (None, (NUMBER, NUMBER))}),
    "by_category": (None, {...: {...: WORD}}),
    "not_computed": (None, _TEXTS),
    "protocol": (None, {"line!": str, "name": str}),
    "list": (None, {"name": (None, str), "sha256": (None, str)}),
    "pictures": (None, dict),
    "seeds": (None, dict),
    "sampler": (None, dict),
    "versions": (None, dict),
    "weights": (None, {...: {"sha256": (None, str)}}),
    "run": (None, {"command": (None, str), "date": (None, str)}),
    "config": (None, str),
    "checkpoint": (None, str),
}


def pair_name(person: str, garment: str) -> str:
    """The stem of a pair's files: ``<person>__<garment>``, with ``/`` and the like quoted."""
    return f"{quote(person, safe='')}__{quote(garment, safe='')}"


def versions() -> dict[str, str]:
    """Of vtonlab and every library that a number may depend on."""
    found = {"vtonlab": __version__, "python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def run_facts(start: float, processes: int = 1) -> dict[str, Any]:
    """What differs between two equal runs: command, date, seconds since ``start``, processes."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "seconds": round(time.time() - start, 1),
        "processes": processes,
    }


def write_results(folder: str | Path, results: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
    """Write ``results.json`` and ``per_image.csv`` as one: whoever reads them finds both of before,
    or both of now, wherever a kill falls. A folder with results.json is complete.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **results}, indent=2, allow_nan=False) + "\n"
    _finish(folder)
    for leftover in folder.glob(NEXT.format("*")):
        leftover.unlink()
    for name in (NEXT.format("*"), RESULTS):
        sweep(folder, name)
    waiting = folder / _next_of(text.encode())
    write_atomic(waiting, table(rows).encode())
    write_atomic(folder / RESULTS, text.encode())
    os.replace(waiting, folder / PER_IMAGE)


def _next_of(results: bytes) -> str:
    """What the table is called until results.json is there: the two say that they belong."""
    return NEXT.format(hashlib.sha256(results).hexdigest()[:16])


def _finish(folder: Path) -> None:
    """Put the table of results.json in its place, where a kill fell between the two."""
    if any(folder.glob(NEXT.format("*"))) and (folder / RESULTS).is_file():
        waiting = folder / _next_of((folder / RESULTS).read_bytes())
        if waiting.is_file():
            os.replace(waiting, folder / PER_IMAGE)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV: ids, then numbers in the order they appear, then files; floats in full."""
    middle = [key for row in rows for key in row if key not in IDS and key not in FILES]
    names = [*IDS, *dict.fromkeys(middle), *FILES]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None else value for key, value in row.items()})
    return stream.getvalue()


@dataclass(frozen=True)
class Results:
    """A results folder, read.

    ``facts`` is results.json; ``rows`` are those of per_image.csv, numbers as floats (None where a
    pair has none), files as absolute paths (None where there is none).
    """

    folder: Path
    facts: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def system(self) -> str:
        return self.facts["system"]

    @property
    def numbers(self) -> list[str]:
        """Columns of ``rows`` that hold numbers."""
        skipped = (*IDS, *FILES)
        return [key for key in (self.rows[0] if self.rows else ()) if key not in skipped]

    def by_pair(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {(row["id"], row["garment_id"]): row for row in self.rows}


def read_results(folder: str | Path) -> Results:
    """Read a results folder.

    Raises:
        FileNotFoundError: it has no results.json or no per_image.csv.
        ValueError: one of them is damaged, or of another format.
    """
    folder = Path(folder)
    _finish(folder)
    for name in (RESULTS, PER_IMAGE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}: make it with tools/test.py or tools/evaluate.py"
            )
    try:
        facts = read_json(folder / RESULTS)
        check_form(facts, FORM, RESULTS)
        found = facts.get("format")
    except ValueError as error:
        raise FileError(f"{folder / RESULTS} is no results file ({reason_of(error)})") from None
    if found != FORMAT:
        raise ValueError(f"{folder / RESULTS} has format {found!r}, this vtonlab reads {FORMAT}")
    path = folder / PER_IMAGE
    with naming(path), open(path, encoding="utf-8", newline="") as file:
        rows = [_typed(row, folder) for row in csv.DictReader(file)]
    return Results(folder, facts, rows)


def _typed(row: dict[str, str], folder: Path) -> dict[str, Any]:
    typed: dict[str, Any] = {}
    for key, text in row.items():
        if key in FILES:
            typed[key] = (folder / text) if text else None  # an absolute path stays one
        elif key == "index":
            typed[key] = int(text)
        elif key in IDS:
            typed[key] = text
        else:
            typed[key] = float(text) if text else None
    return typed


def find_results(places: Iterable[str | Path]) -> list[Path]:
    """Results folders at or below ``places``, sorted within each.

    Raises:
        FileNotFoundError: a place without any.
    """
    found: list[Path] = []
    for place in places:
        here = sorted(path.parent for path in Path(place).rglob(RESULTS))
        if not here:
            raise FileNotFoundError(
                f"{place} holds no {RESULTS}: make one with tools/test.py or tools/evaluate.py"
            )
        found += [folder for folder in here if folder not in found]
    return found


def relative(path: Path | None, folder: Path) -> str:
    """``path`` for the table: relative to ``folder`` where it lies below it, else absolute."""
    if path is None:
        return ""
    path, folder = Path(path).absolute(), Path(folder).absolute()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
