"""Masks that are made without a human parser, against those from the true parse.

Example:
    python tools/benchmark/preparation.py --vitonhd data/vitonhd --dresscode data/dresscode \\
        --out docs/tables/preparation.csv

Everybody whose photograph and parse lie in the folders of VITON-HD or Dress Code is prepared from
the photograph alone; then one function (`agnostic_mask`, convention ``full``) draws the mask from
the pseudo-parse and from the true one, with the same keypoints. Measured are their IoU; the leak,
the share of the worn garment's pixels that stay in sight; and how much of face and hands is hidden.
The rules were chosen on half of the people (``chosen on``), by a hash of their names; the others
are ``held out``. Where the data set ships masks, ``shipped`` is the IoU with them of the convention
``vitonhd``.

Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import csv
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HEAD = (
    *("people", "of", "IoU", "least", "leak above 0.5 %", "largest leak", "face hidden, largest"),
    *("hands hidden, mean", "shipped", "commit"),
)
CHIN = 0.39  # of the way from nose to neck: the median of VITON-HD's people
HANDS = 200  # pixels, below which no hand is seen


class Photograph(NamedTuple):
    """Somebody with a true parse."""

    name: str
    category: str
    person: Path
    parse: Path
    labels: str  # lip or atr
    mask: Path | None


class Measured(NamedTuple):
    """Of one person; None where there is nothing to measure."""

    iou: float
    leak: float
    face: float | None
    hands: float | None
    shipped: float | None


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vitonhd", metavar="DIR")
    parser.add_argument("--dresscode", metavar="DIR")
    parser.add_argument("--each", action="store_true", help="also print every person")
    parser.add_argument("--out", type=Path, help="CSV file")
    return parser.parse_args(argv)


def of_vitonhd(root: Path) -> Iterator[Photograph]:
    """People of both splits."""
    for split in ("train", "test"):
        for person in sorted((root / split / "image").glob("*.jpg")):
            parse = root / split / "image-parse-v3" / f"{person.stem}.png"
            mask = root / split / "agnostic-mask" / f"{person.stem}_mask.png"
            if parse.is_file():
                yield Photograph(
                    person.stem,
                    "upper_body",
                    person,
                    parse,
                    "lip",
                    mask if mask.is_file() else None,
                )


def of_dresscode(root: Path) -> Iterator[Photograph]:
    """People of all categories."""
    for category in ("upper_body", "lower_body", "dresses"):
        for person in sorted((root / category / "images").glob("*_0.jpg")):
            name = person.stem.removesuffix("_0")
            parse = root / category / "label_maps" / f"{name}_4.png"
            if parse.is_file():
                yield Photograph(name, category, person, parse, "atr", None)


def held_out(name: str) -> bool:
    """Whether nothing was chosen on a person: half of all, by the hash of the name."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2 == 0


def measure(photograph: Photograph, preparation) -> Measured:
    """Prepare one person and compare."""
    from vtonlab.ops.agnostic import agnostic_mask, leak_share, worn_garment
    from vtonlab.ops.agnostic_shapes import body_unit, hands
    from vtonlab.ops.labels import atr_to_lip
    from vtonlab.utils.images import read_image

    truth = read_image(photograph.parse, "labels")
    truth = atr_to_lip(truth) if photograph.labels == "atr" else truth
    category = photograph.category
    found = preparation(read_image(photograph.person), None, category, maps=["mask"])
    keypoints = found.keypoints
    true_mask = agnostic_mask(truth, keypoints, category)
    points, known = keypoints[:, :2] * truth.shape[::-1], keypoints[:, 2] > 0
    face = truth == 13
    if photograph.labels == "atr":  # whose faces reach down to the collar
        nose, neck = points[[0, 1], 1]
        face[round(float(nose + CHIN * (neck - nose))) :] = False
    arms, unit = (truth == 14, truth == 15), body_unit(points, known, truth.shape[0])
    seen = hands(arms, points, known, unit)
    shipped = None
    if photograph.mask is not None:
        drawn = agnostic_mask(found.parse, keypoints, category, convention="vitonhd")
        shipped = overlap(drawn, read_image(photograph.mask, "grey") > 127)
    return Measured(
        overlap(found.mask, true_mask),
        leak_share(found.mask, worn_garment(truth, category)),
        hidden(found.mask, face),
        hidden(found.mask, seen) if seen.sum() >= HANDS else None,
        shipped,
    )


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    """Intersection over union of two masks."""
    one, two = one.astype(bool), two.astype(bool)
    return float((one & two).sum() / max(1, (one | two).sum()))


def hidden(mask: np.ndarray, area: np.ndarray) -> float | None:
    """Share of an area that a mask covers."""
    return float(mask[area].mean()) if area.any() else None


def row(title: str, people: list[Measured], commit: str) -> list[str]:
    """A line of the table."""
    shipped = [p.shipped for p in people if p.shipped is not None]
    hands = [p.hands for p in people if p.hands is not None]
    return [
        title,
        str(len(people)),
        f"{np.mean([p.iou for p in people]):.3f}",
        f"{min(p.iou for p in people):.3f}",
        str(sum(p.leak > 0.005 for p in people)),
        f"{max(p.leak for p in people):.2%}",
        f"{max((p.face or 0) for p in people):.2%}",
        f"{np.mean(hands):.1%}" if hands else "",
        f"{np.mean(shipped):.3f}" if shipped else "",
        commit,
    ]


def main() -> int:
    args = parse_args()
    if not args.vitonhd and not args.dresscode:
        raise ValueError("give --vitonhd DIR, --dresscode DIR or both")
    from vtonlab.estimators import Preparation

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    preparation, rows = Preparation(), []
    for title, root, of in (
        ("VITON-HD", args.vitonhd, of_vitonhd),
        ("Dress Code", args.dresscode, of_dresscode),
    ):
        people = list(of(Path(root))) if root else []
        if root and not people:
            raise FileNotFoundError(f"{root} holds nobody with a photograph and a parse")
        measured = {person.name: measure(person, preparation) for person in people}
        for name, found in measured.items() if args.each else ():
            half = "held out" if held_out(name) else "chosen on"
            cells = ["" if v is None else f"{v:.4f}" for v in found]
            print(f"{title:<11} {name:<10} {half:<10}", *cells)
        for half, wanted in (
            ("chosen on", (False,)),
            ("held out", (True,)),
            ("all", (False, True)),
        ):
            chosen = [found for name, found in measured.items() if held_out(name) in wanted]
            if chosen:
                rows.append(row(f"{title}, {half}", chosen, commit))
    for line in [HEAD, *rows]:
        print("  ".join(f"{cell:>12}" for cell in line))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with open(args.out, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEAD, *rows])
        print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
