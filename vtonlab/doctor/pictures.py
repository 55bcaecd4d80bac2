"""Headers of all pictures, and all pixels with ``--deep``: unreadable files, formats, sizes."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtonlab.datasets.readers.layout import owner
from vtonlab.datasets.readers.lists import PICTURE_SUFFIXES
from vtonlab.datasets.readers.reading import check_aspect
from vtonlab.doctor.findings import Report
from vtonlab.doctor.survey import Part, relative
from vtonlab.utils.images import SHRINK_ABOVE, ImageFacts, PictureError, inspect_image

PHOTOGRAPHS = ("person", "garment")
_FORMATS = {
    ".jpg": ("JPEG", "MPO"),
    ".jpeg": ("JPEG", "MPO"),
    ".tif": ("TIFF",),
    ".heif": ("HEIF",),
    ".heic": ("HEIF",),
} | {
    suffix: (suffix[1:].upper(),) for suffix in (".png", ".webp", ".avif", ".tiff", ".bmp", ".gif")
}
_LABEL_MODES = ("P", "L", "1")
_COLOURLESS = ("L", "1", "I;16", "I")
_TRANSPARENT = ("RGBA", "LA", "PA")


@dataclass
class Probe:
    """What one file showed: its header, or why it is no use."""

    facts: ImageFacts | None = None
    fault: str = ""  # code of the finding
    text: str = ""


Probes = dict[Path, Probe]


def in_threads(
    work: Callable[[Any], Any], items: Sequence, workers: int, progress: Callable[[int, int], None]
) -> Iterator[tuple[Any, Any]]:
    """(item, result) in order, computed in parallel; Ctrl-C does not wait for the rest."""
    pool = ThreadPoolExecutor(workers)
    try:
        for done, (item, result) in enumerate(zip(items, pool.map(work, items), strict=True), 1):
            yield item, result
            progress(done, len(items))
    finally:
        pool.shutdown(cancel_futures=True)


def picture_files(parts: Iterable[Part]) -> dict[Path, str]:
    """Every picture of every part that readers may open: file -> map."""
    found: dict[Path, str] = {}
    for part in parts:
        for member in part.members.values():
            for name, path in member.files.items():
                if path is not None and path.suffix.lower() in PICTURE_SUFFIXES:
                    found.setdefault(path, name)
    return found


def probe(path: Path, *, deep: bool, max_pixels: int) -> Probe:
    """Header and end of a file, or all of it."""
    try:
        return Probe(inspect_image(path, deep=deep, max_pixels=max_pixels))
    except PictureError as error:
        return Probe(fault=error.kind, text=str(error))
    except OSError as error:
        return Probe(fault="unreadable-folder", text=error.strerror or str(error))


def check_pictures(root: Path, parts: Sequence[Part], probes: Probes, report: Report) -> None:
    """Findings about files by themselves, and about maps beside their photograph."""
    names = picture_files(parts)
    for path, seen in probes.items():
        where, name = relative(path.parent, root), relative(path, root)
        if seen.facts is None:
            text = seen.text.removeprefix(str(path)).strip()
            report.add(seen.fault, where, [f"{name}: {text}"])
            continue
        if seen.facts.format not in _FORMATS[path.suffix.lower()]:
            report.add("wrong-extension", where, [f"{name}: {seen.facts.format}"])
        if names[path].endswith("parse"):
            if seen.facts.format in _FORMATS[".jpg"] or seen.facts.mode not in _LABEL_MODES:
                text = f"{name}: {seen.facts.mode} {seen.facts.format}"
                report.add("parse-colour", where, [text])
        if names[path] in PHOTOGRAPHS:
            _check_photograph(where, name, seen.facts, report)
    for part in parts:
        _check_sizes(root, part, probes, report)


def _check_photograph(where: str, name: str, facts: ImageFacts, report: Report) -> None:
    if facts.turned:
        height, width = facts.size
        report.add("turned", where, [f"{name}: {height}x{width} (height x width) once upright"])
    if facts.mode in _COLOURLESS:
        report.add("colourless", where, [name])
    if facts.mode in _TRANSPARENT:
        report.add("transparent", where, [name])
    if facts.profile:
        report.add("colour-profile", where, [f"{name}: {facts.profile}"])
    if facts.size[0] * facts.size[1] > SHRINK_ABOVE:
        report.add("very-large", where, [f"{name}: {_hw(facts.size)}"])


def _check_sizes(root: Path, part: Part, probes: Probes, report: Report) -> None:
    def size_of(path: Path | None) -> tuple[int, int] | None:
        facts = probes[path].facts if path in probes else None
        return facts.size if facts else None

    told: set[Path] = set()
    for member in part.members.values():
        for name, path in member.files.items():
            photo = size_of(member.files.get(owner(name)))
            size = size_of(path)
            if name in PHOTOGRAPHS or path in told or photo is None or size in (None, photo):
                continue
            told.add(path)
            text = f"{relative(path, root)}: {_hw(size)}, its photograph {_hw(photo)}"
            try:
                check_aspect(size, photo, path)
                report.add("other-size", relative(path.parent, root), [text])
            except ValueError:
                report.add("wrong-aspect", relative(path.parent, root), [text])
    for name in PHOTOGRAPHS:
        files = {m.files.get(name) for m in part.members.values()}
        sizes = Counter(size for size in map(size_of, files) if size)
        if sizes and name in report.folders.get(part.name, {}):
            report.folders[part.name][name]["sizes"] = {_hw(s): n for s, n in sizes.most_common(5)}
        if len(sizes) > 1:
            common = ", ".join(f"{n} of {_hw(size)}" for size, n in sizes.most_common(4))
            more = f" and {len(sizes) - 4} other sizes" if len(sizes) > 4 else ""
            place = relative(part.folders[name].path, root)
            report.add("mixed-sizes", place, detail=f"{common}{more} (height x width)")


def _hw(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def workers() -> int:
    """Threads worth starting: decoding leaves Python's lock."""
    return min(16, 2 * (os.cpu_count() or 1))
