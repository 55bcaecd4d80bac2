"""Where a data set's files lie: one table for each, and one scan of the folders it names."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vtonlab.datasets.readers.lists import PICTURE_SUFFIXES, composed, some
from vtonlab.structures.sample import CATEGORIES, GARMENT_MAPS
from vtonlab.utils.paths import resolve_inside


class Place(NamedTuple):
    """Where a map may lie: the official folder first, then aliases seen in the wild.

    ``names`` hold ``{id}`` (the name in the list, without extension), ``{number}`` (the same
    without its last ``_part``) or ``{base}`` (without folders); a pattern without extension takes
    any picture extension. ``key`` says how files are named: ``name`` (this folder alone), ``path``
    (folders below count), or ``flat`` (by `flat_name`, wherever below).
    """

    folders: tuple[str, ...]
    names: tuple[str, ...] = ("{id}",)
    key: str = "name"

    def candidates(self, name: str) -> Iterable[str]:
        values = dict(id=name, number=name.rpartition("_")[0] or name, base=name.split("/")[-1])
        for pattern in self.names:
            stem = pattern.format(**values)
            _, dot, suffix = pattern.rpartition(".")
            named = bool(dot) and "{" not in suffix
            stem = composed(stem)
            for candidate in [stem] if named else [stem + s for s in PICTURE_SUFFIXES]:
                yield flat_name(candidate) if self.key == "flat" else candidate


def flat_name(name: str) -> str:
    """``WOMEN/Pants/id_00000001/01_1_front.jpg`` and ``fashionWOMENPantsid0000000101_1front.jpg``
    are one name in DeepFashion: ``WOMENPantsid00000001011front.jpg``.
    """
    return name.removeprefix("fashion").replace("/", "").replace("_", "")


class Folder(NamedTuple):
    """A scanned folder: name as searched for -> file below ``path``."""

    path: Path
    files: Mapping[str, str]

    def find(self, place: Place, name: str) -> Path | None:
        for candidate in place.candidates(name):
            if candidate in self.files:
                return self.path / self.files[candidate]
        return None

    def rivals(self) -> list[tuple[str, str]]:
        """Pictures of one name in two formats: which is read, and which is passed over."""
        by_base: dict[str, list[str]] = {}
        for file in self.files.values():
            base, suffix = os.path.splitext(composed(file))
            if suffix.lower() in PICTURE_SUFFIXES and not os.path.basename(file).startswith("._"):
                by_base.setdefault(base, []).append(file)
        rank = PICTURE_SUFFIXES.index
        found = (
            sorted(f, key=lambda name: rank(os.path.splitext(name)[1].lower()))
            for f in by_base.values()
            if len(f) > 1
        )
        return [(files[0], other) for files in found for other in files[1:]]


@dataclass(frozen=True)
class Layout:
    """A data set on disk.

    Args:
        title: its name in messages.
        parents: where the folders of a split and category lie below the root; alternatives in
            order; may hold ``{split}`` and ``{category}``.
        places: map -> place. ``person`` and ``garment`` are always there.
        lists: pair lists of a split and setting, alternatives in order, below the root; may hold
            ``{split}``, ``{setting}`` and ``{category}``.
        derived: map -> the maps it is made from where its folder does not exist.
        companions: map -> further places without which it cannot be read.
        categories: of the garments.
        without_data: a config to try instead.
    """

    title: str
    parents: tuple[str, ...]
    places: Mapping[str, Place]
    lists: tuple[str, ...]
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    companions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    categories: tuple[str, ...] = CATEGORIES

    @property
    def maps(self) -> tuple[str, ...]:
        """What a config may ask for beside person and garment."""
        inner = {name for names in self.companions.values() for name in names}
        names = dict.fromkeys([*self.places, *self.derived])
        return tuple(name for name in names if name not in inner | {"person", "garment"})

    def parent(self, root: Path, split: str, category: str) -> Path | None:
        """The folder that holds the maps of ``category`` in ``split``, or None."""
        for pattern in self.parents:
            path = root / pattern.format(split=split, category=category)
            if any((path / folder).is_dir() for folder in self.places["person"].folders):
                return path
        return None

    def sketch(self, maps: Iterable[str]) -> str:
        """Official folders of some maps, on one line."""
        wanted = set(maps)
        names = (p.folders[0] for m, p in self.places.items() if m in wanted)
        return ", ".join(f"{name}/" for name in dict.fromkeys(names))

    def fits(self, root: Path) -> bool:
        """Whether ``root`` holds this layout's people, in any split and category."""
        return any(
            self.parent(root, split, category) is not None
            for split in ("train", "test")
            for category in self.categories
        )


def owner(name: str) -> str:
    """Whose name a map's file carries: ``person`` or ``garment``."""
    return "garment" if name in GARMENT_MAPS or name.startswith("garment_") else "person"


def scan(parent: Path, place: Place, root: Path, *, follow_links: bool = False) -> Folder | None:
    """The first of a place's folders that exists below ``parent``, or None.

    Raises:
        ValueError: the folder or one of its files is a link that leads out of ``root``.
    """
    for name in place.folders:
        path = parent / name
        if path.is_dir():
            files = _files(path, deep=place.key != "name")
            if not follow_links:
                for link in (path, *(path / file for file, linked in files if linked)):
                    resolve_inside(root, link.relative_to(root).as_posix())
            return Folder(path, {_key(file, place.key): file for file, _ in files})
    return None


def _key(file: str, kind: str) -> str:
    """What a file is found by; extensions in capitals are the same."""
    base, suffix = os.path.splitext(composed(file))
    name = base + suffix.lower()
    return flat_name(name) if kind == "flat" else name


def _files(path: Path, *, deep: bool, prefix: str = "") -> list[tuple[str, bool]]:
    """Files of a folder, and below it if ``deep``, each with whether it is a link; linked folders
    are not entered.
    """
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            if deep and entry.is_dir(follow_symlinks=False):
                found += _files(path / entry.name, deep=True, prefix=f"{prefix}{entry.name}/")
            else:
                found.append((prefix + entry.name, entry.is_symlink()))
    return found


def describe_folder(path: Path) -> str:
    """What lies at a place where something else was expected, on one line."""
    if not path.exists():
        parent = next(p for p in [*path.parents, Path(".")] if p.exists())
        return f"{path} does not exist (the nearest folder that does is {parent.resolve()})"
    if not path.is_dir():
        return f"{path} is a file"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in os.scandir(path))
    return f"{path} holds {some(names)}" if names else f"{path} is empty"
