"""The examination from first to last: folders, lists, headers, contents, duplicates."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vtonlab.doctor.contents import choose, examine, report_contents
from vtonlab.doctor.duplicates import check_duplicates, check_known, thumbnail
from vtonlab.doctor.findings import Report
from vtonlab.doctor.kinds import KINDS, SPLITS, Kind
from vtonlab.doctor.pair_lists import check_lists, read_lists, write_lists
from vtonlab.doctor.pictures import (
    Probes,
    check_pictures,
    in_threads,
    picture_files,
    probe,
    workers,
)
from vtonlab.doctor.survey import (
    Part,
    add_members,
    check_files,
    find_root,
    open_folders,
    parts_of,
)
from vtonlab.doctor.table import table_part
from vtonlab.utils.images import MAX_PIXELS
from vtonlab.utils.progress import Progress

LOOKED_AT = 200  # people whose pixels are looked at without --deep
COMPARED = 2000  # photographs up to which near duplicates are sought without --deep
_SPOILT = ("empty", "truncated", "damaged", "not-a-picture", "oversized", "wrong-aspect")


@dataclass(frozen=True)
class Options:
    """How to look.

    Args:
        deep: decode every picture of everybody; else headers of all and the pixels of some.
        people: whose pixels are looked at without ``deep``.
        max_pixels: larger pictures are refused by their header.
        threads: that decode.
        quiet: without progress.
    """

    deep: bool = False
    people: int = LOOKED_AT
    max_pixels: int = MAX_PIXELS
    threads: int = 0
    quiet: bool = False

    def progress(self, unit: str) -> Callable[[int, int], None]:
        """``progress(done, total)``."""
        if self.quiet:
            return lambda done, total: None
        line = Progress(unit)
        return lambda done, total: line(done, 0, total)

    def run(self, work: Callable, items: Sequence, unit: str):
        """(item, result) of each item."""
        return in_threads(work, items, self.threads or workers(), self.progress(unit))


def diagnose(
    data_root: str | Path,
    *,
    kind: str | None = None,
    deep: bool = False,
    people: int = LOOKED_AT,
    max_pixels: int = MAX_PIXELS,
    known: str | Path | None = None,
    fix_lists: str | Path | None = None,
    threads: int = 0,
    quiet: bool = True,
) -> Report:
    """Examine a data set.

    Args:
        data_root: its folder.
        kind: one of `KINDS`; None finds out.
        deep: see `Options`, like the next two.
        known: list of duplicates and leaks; see `read_exclusions`.
        fix_lists: folder for clean pair lists, or None.
        threads: that decode; 0 chooses.
        quiet: no progress on stderr.

    Raises:
        FileNotFoundError, ValueError: no folder there, no data set in it, or a bad option.
    """
    start, options = time.monotonic(), Options(deep, people, max_pixels, threads, quiet)
    root = _folder(data_root)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"--type {kind!r} is none of {', '.join(KINDS)}")
    report = Report(str(root))
    found = find_root(root, kind, report)
    if found is None:
        return _unrecognised(root, kind, report)
    root, what = found
    if fix_lists is not None and what.own is None:
        raise ValueError(f"--fix-lists cannot know who wears what in {what.layout.title}")
    report.root, report.kind, report.reader = str(root), what.name, what.reader
    parts = _survey(root, what, report)
    if known is not None:
        check_known(parts, Path(known), report)
    probes = _headers(root, parts, options, report)
    _contents(root, what, parts, probes, options, report)
    _duplicates(root, parts, probes, options, report)
    if fix_lists is not None:
        written = write_lists(Path(fix_lists), what, parts, _unusable(parts, probes))
        report.looked["lists"] = {str(path): count for path, count in written.items()}
    report.looked["seconds"] = round(time.monotonic() - start, 2)
    return report


def _folder(data_root: str | Path) -> Path:
    root = Path(data_root).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist: name the folder of a data set")
    if not root.is_dir():
        raise ValueError(f"{root} is a file: name the folder of a data set")
    if not os.access(root, os.R_OK | os.X_OK):
        raise ValueError(f"{root} cannot be read: change its permissions")
    return root.resolve()


def _unrecognised(root: Path, kind: str | None, report: Report) -> Report:
    from vtonlab.datasets.readers.layout import describe_folder

    if report.findings:
        return report
    wanted = KINDS[kind].layout.title if kind else "any data set that vtonlab reads"
    known = [KINDS[kind]] if kind else list(KINDS.values())
    layouts = "; ".join(f"{k.layout.title}: {_example(k)}" for k in known)
    raise ValueError(
        f"{root} has no folder of {wanted}: {describe_folder(root)}; expected are {layouts}"
    )


def _example(kind: Kind) -> str:
    if kind.listed:
        return kind.layout.lists[0]
    parent = kind.layout.parents[0].format(split="train", category=kind.layout.categories[0])
    names = [kind.layout.places[n].folders[0] for n in ("person", "garment")]
    return ", ".join(dict.fromkeys(str(Path(parent) / name) + "/" for name in names))


def _survey(root: Path, kind: Kind, report: Report) -> list[Part]:
    """Folders, lists and who lacks what."""
    if kind.listed:
        return [table_part(root, kind, report)]
    parts = parts_of(root, kind)
    for part in parts:
        open_folders(root, kind, part, report)
    if kind.layout.parents == ("{split}",):
        found = {split for part in parts for split in part.splits}
        for split in SPLITS:
            if split not in found:
                report.add("split-missing", split)
    lists = read_lists(root, kind, parts, report)
    listed = [(*pair, entry.split) for entry in lists for pair in entry.pairs]
    for part in parts:
        add_members(kind, part, listed)
        check_files(root, kind, part, report)
    check_lists(root, kind, parts, lists, report)
    return parts


def _headers(root: Path, parts: Sequence[Part], options: Options, report: Report) -> Probes:
    files = list(picture_files(parts))
    look = partial(probe, deep=options.deep, max_pixels=options.max_pixels)
    probes = dict(options.run(look, files, "pictures"))
    report.looked["pictures"] = len(files)
    check_pictures(root, parts, probes, report)
    return probes


def _contents(
    root: Path, kind: Kind, parts: Sequence[Part], probes: Probes, options: Options, report: Report
) -> None:
    chosen = choose(parts, None if options.deep else options.people)

    def look(item):
        return examine(item[1], kind, probes, options.max_pixels)

    seen = [(*item, found) for item, found in options.run(look, chosen, "people")]
    report.looked["people"] = len(chosen)
    report.looked["of_people"] = sum(len(part.members) for part in parts)
    report_contents(root, seen, report)


def _duplicates(
    root: Path, parts: Sequence[Part], probes: Probes, options: Options, report: Report
) -> None:
    def make(paths: Sequence[Path]) -> Mapping[Path, np.ndarray]:
        good = [path for path in paths if probes[path].facts is not None]
        small = options.run(partial(thumbnail, max_pixels=options.max_pixels), good, "photographs")
        return {path: picture for path, picture in small if picture is not None}

    count = sum(2 * len(part.members) for part in parts)
    near = options.deep or count <= COMPARED
    report.looked["near_duplicates"] = near
    check_duplicates(root, parts, report, make if near else None)


def _unusable(parts: Sequence[Part], probes: Probes) -> set[str]:
    """``part/id`` of people with a picture that no reader opens."""
    return {
        f"{part.name}/{member.id}"
        for part in parts
        for member in part.members.values()
        if any(path in probes and probes[path].facts is None for path in member.files.values())
    }
