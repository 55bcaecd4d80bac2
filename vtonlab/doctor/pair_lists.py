"""Pair lists against the pictures that are there; writing clean lists."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtonlab.datasets.base import derangement
from vtonlab.datasets.readers.lists import category_of, read_rows
from vtonlab.doctor.findings import Report
from vtonlab.doctor.kinds import SPLITS, Kind
from vtonlab.doctor.survey import REQUIRED, Part, relative
from vtonlab.structures.pair_store import write_atomic
from vtonlab.structures.sample import CATEGORIES

SETTINGS = ("paired", "unpaired")


@dataclass
class PairListFile:
    """A list with its pairs.

    Args:
        setting: ``paired`` or ``unpaired`` where its name says so, else "".
        pairs: (person, garment, category or "").
    """

    path: Path
    split: str
    setting: str
    pairs: list[tuple[str, str, str]]


def read_lists(root: Path, kind: Kind, parts: Sequence[Part], report: Report) -> list[PairListFile]:
    """All lists of the layout that exist; those that are missing or unreadable are reported."""
    found: list[PairListFile] = []
    missing: list[tuple[str, Path]] = []
    for split in sorted({split for part in parts for split in part.splits}, reverse=True):
        mine = [part for part in parts if split in part.splits]
        names = _list_names(kind, split, mine)
        there = {path: setting for path, setting in names if path.is_file()}
        for path, setting in there.items():
            found += _read(root, kind, path, split, setting, report)
        if not there and not _has_no_people(mine):
            missing.append((split, names[0][0]))
    listed = {person for entry in found for person, *_ in entry.pairs}
    for split, path in missing:
        mine = [part for part in parts if split in part.splits]
        if all(listed.issuperset(part.photographed(kind)) for part in mine):
            report.add("split-missing", split)  # everybody here is of another split
        else:
            report.add("list-missing", relative(path, root), detail=f"{split} has no list")
    return found


def _has_no_people(parts: Iterable[Part]) -> bool:
    return not any(part.folders.get("person") and part.folders["person"].files for part in parts)


def _list_names(kind: Kind, split: str, parts: Sequence[Part]) -> list[tuple[Path, str]]:
    """(file, setting) of every list that may exist, most official first."""
    names: dict[Path, str] = {}
    roots = {part.name: part for part in parts}
    categories = [part.category for part in roots.values() if part.category] or [""]
    for pattern in (*kind.layout.lists, *kind.root_lists):
        settings = SETTINGS if "{setting}" in pattern else ("",)
        for category in categories if "{category}" in pattern else ("",):
            for setting in settings[:1] if split == "train" else settings:
                name = pattern.format(split=split, setting=setting, category=category)
                names.setdefault(_root_of(parts) / name, setting)
    return list(names.items())


def _root_of(parts: Sequence[Part]) -> Path:
    part = parts[0]
    return part.parent if part.name == "." else part.parent.parents[part.name.count("/")]


def _read(
    root: Path, kind: Kind, path: Path, split: str, setting: str, report: Report
) -> Iterator[PairListFile]:
    where = relative(path, root)
    columns = kind.columns
    names = sum(c in ("person", "other", "garment") for c in columns)
    try:
        rows = [dict(zip(columns, row, strict=False)) for row in read_rows(path, names=names)]
        folder = path.parent.name if path.parent.name in CATEGORIES else ""
        pairs = [
            (
                row["person"],
                row["garment"],
                category_of(row["category"], path) if row.get("category") else folder,
            )
            for row in rows
            if row.get("split", split) == split
        ]
        yield PairListFile(path, split, setting, pairs)
    except (ValueError, OSError) as error:
        text = str(error)
        code = "list-hostile" if "may not be read" in text else "list-unreadable"
        report.add(code, where, [text.removeprefix(f"pair list {path}").lstrip(",: ")])


def check_lists(
    root: Path, kind: Kind, parts: Sequence[Part], lists: Sequence[PairListFile], report: Report
) -> None:
    """Findings about every list; see the catalogue's pair lists."""
    for entry in lists:
        where = relative(entry.path, root)
        mine = [part for part in parts if entry.split in part.splits]
        missing = list(_without_files(entry, mine))
        if missing:
            other = [part for part in parts if entry.split not in part.splits]
            elsewhere = sum(1 for _ in _without_files(entry, other)) if other else len(entry.pairs)
            swapped = other and 2 * (len(entry.pairs) - elsewhere) > len(entry.pairs)
            code = "list-of-other-split" if swapped else "list-entries-without-files"
            report.add(code, where, missing, of=len(entry.pairs))
        repeated = [pair for pair, n in Counter(p[:2] for p in entry.pairs).items() if n > 1]
        if repeated:
            report.add("list-repeated", where, [" ".join(pair) for pair in repeated])
        if kind.own is not None:
            _check_pairing(kind, entry, where, report)
    _check_overlap(root, lists, report)
    for part in parts:
        _check_unlisted(root, kind, part, lists, report)


def _without_files(entry: PairListFile, parts: Sequence[Part]) -> Iterator[str]:
    """Lines whose person or garment has no picture in any of the parts."""
    for person, garment, category in entry.pairs:
        fitting = [p for p in parts if not category or p.category in ("", category)]
        lacking = [
            f"no {name} {wanted}"
            for name, wanted in (("person", person), ("garment", garment))
            if not any(part.has(name, wanted) for part in fitting)
        ]
        if lacking:
            yield f"{person} {garment} ({', '.join(lacking)})"


def _check_pairing(kind: Kind, entry: PairListFile, where: str, report: Report) -> None:
    total = len(entry.pairs)
    own = [f"{p} {g}" for p, g, _ in entry.pairs if kind.own(p) == g]
    others = [f"{p} {g}" for p, g, _ in entry.pairs if kind.own(p) != g]
    if entry.split == "train":
        if others:
            report.add("list-mismatched", where, others, of=total)
    elif entry.setting == "paired":
        if others:
            report.add("paired-list-unpaired", where, others, of=total)
    elif own:
        report.add("unpaired-list-paired", where, own, of=total)


def _check_overlap(root: Path, lists: Sequence[PairListFile], report: Report) -> None:
    people = {
        split: {pair[0] for entry in lists if entry.split == split for pair in entry.pairs}
        for split in SPLITS
    }
    both = sorted(people["train"] & people["test"])
    if both:
        first = next(entry.path for entry in lists if entry.split == "train")
        report.add("list-overlap", relative(first, root), both, of=len(people["test"]))


def _check_unlisted(
    root: Path, kind: Kind, part: Part, lists: Sequence[PairListFile], report: Report
) -> None:
    listed = {pair[0] for e in lists if e.split in part.splits for pair in e.pairs}
    folder = part.folders.get("person")
    if not listed or folder is None or kind.own is None:
        return
    left = [name for name in part.photographed(kind) if name not in listed]
    if left:
        where = relative(folder.path, root)
        report.add("people-not-listed", where, left, of=len(part.photographed(kind)))


# writing ------------------------------------------------------------------------------------------


def write_lists(
    out: Path, kind: Kind, parts: Sequence[Part], unusable: Collection[str] = ()
) -> dict[Path, int]:
    """Clean lists of everybody who is complete: person, own garment, and every map that others of
    the part have. The train list pairs each with its own garment, the test list with another of the
    same category.

    Args:
        out: folder for ``train_pairs.txt`` and ``test_pairs.txt``; made if absent.
        unusable: ``split/id`` of people to leave out.

    Returns:
        The files with their numbers of pairs.
    """
    rows: dict[str, list[list[str]]] = {split: [] for split in SPLITS}
    several = len(kind.layout.categories) > 1
    for part in parts:
        people = [m for m in part.members.values() if f"{part.name}/{m.id}" not in unusable]
        needed = {name for m in people for name, file in m.files.items() if file}
        kept = [m for m in people if all(m.files.get(n) for n in {*REQUIRED, *needed})]
        for split in SPLITS:
            mine = [m for m in kept if m.split == split]
            garments = [m.garment_id for m in mine]
            if split == "test" and len(mine) > 1:
                garments = [garments[i] for i in derangement(len(mine), seed=0)]
            number = [str(CATEGORIES.index(part.category))] if several else []
            rows[split] += [
                [f"{m.id}.jpg", f"{garment}.jpg", *number]
                for m, garment in zip(mine, garments, strict=True)
            ]
    return _write(out, rows)


def _write(out: Path, rows: Mapping[str, list[list[str]]]) -> dict[Path, int]:
    out.mkdir(parents=True, exist_ok=True)
    written = {}
    for split, lines in rows.items():
        if lines:
            path = out / f"{split}_pairs.txt"
            separator = "\t" if len(lines[0]) > 2 else " "
            text = "".join(separator.join(line) + "\n" for line in lines)
            write_atomic(path, text.encode())
            written[path] = len(lines)
    return written
