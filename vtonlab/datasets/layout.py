"""Finding a data set's files: one table of where each map may lie, one scan of the folders."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vtonlab.utils.paths import check_name, resolve_inside

PICTURE_SUFFIXES = (".jpg", ".png", ".jpeg", ".webp")
_SHOWN = 5  # names given in a message before "and N more"


class Pair(NamedTuple):
    """One line of a pair list, without extensions."""

    id: str
    garment_id: str


class Place(NamedTuple):
    """Where a map may lie: the official folder first, then aliases seen in the wild.

    ``name`` patterns hold ``{id}``; a pattern without extension takes any picture extension.
    """

    folders: tuple[str, ...]
    names: tuple[str, ...] = ("{id}",)

    def candidates(self, name: str) -> Iterable[str]:
        for pattern in self.names:
            stem = pattern.format(id=name)
            yield from [stem] if "." in pattern else [stem + s for s in PICTURE_SUFFIXES]


class Folder(NamedTuple):
    """A scanned folder."""

    path: Path
    files: frozenset[str]

    def find(self, place: Place, name: str) -> Path | None:
        for candidate in place.candidates(name):
            if candidate in self.files:
                return self.path / candidate
        return None


def scan(parent: Path, place: Place, root: Path, *, follow_links: bool = False) -> Folder | None:
    """The first of a place's folders that exists below ``parent``, or None.

    Raises:
        ValueError: the folder or one of its files is a link that leads out of ``root``.
    """
    for name in place.folders:
        path = parent / name
        if path.is_dir():
            with os.scandir(path) as entries:
                entries = list(entries)
            if not follow_links:
                links = [Path(entry.path) for entry in entries if entry.is_symlink()]
                for link in (path, *links):
                    resolve_inside(root, link.relative_to(root).as_posix())
            return Folder(path, frozenset(entry.name for entry in entries))
    return None


def read_pairs(path: Path) -> list[Pair]:
    """Pairs of a list file: ``person garment`` per line, separated by blanks, tab or comma.

    A line with one name pairs it with itself. Picture extensions are dropped, blank lines and lines
    that start with ``#`` passed over.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no pairs, or a name that could leave the data root; names file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"pair list {path} does not exist; it holds one 'person.jpg garment.jpg' per line"
        )
    pairs = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"pair list {path} is not a text file") from None
    for number, line in enumerate(lines, 1):
        names = line.replace(",", " ").split()
        if not names or names[0].startswith("#"):
            continue
        try:
            person, garment = (_stem(check_name(name)) for name in (*names, names[0])[:2])
        except ValueError as error:
            raise ValueError(f"pair list {path}, line {number}: {error}") from None
        pairs.append(Pair(person, garment))
    if not pairs:
        raise ValueError(
            f"pair list {path} holds no pairs; it needs one 'person.jpg garment.jpg' per line"
        )
    return pairs


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in PICTURE_SUFFIXES else name


def some(names: Sequence[str], separator: str = ", ") -> str:
    """``a, b, c, d, e and 7 more``."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return separator.join(names[:_SHOWN]) + more


def sketch(layout: Mapping[str, Place], maps: Iterable[str]) -> str:
    """The folders of some maps on one line, official names."""
    return ", ".join(f"{layout[m].folders[0]}/" for m in layout if m in set(maps))


def describe_folder(path: Path) -> str:
    """What lies at a place where something else was expected, on one line."""
    if not path.exists():
        parent = next(p for p in [*path.parents, Path(".")] if p.exists())
        return f"{path} does not exist (the nearest folder that does is {parent.resolve()})"
    if not path.is_dir():
        return f"{path} is a file"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in os.scandir(path))
    return f"{path} holds {some(names)}" if names else f"{path} is empty"
