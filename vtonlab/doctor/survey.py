"""What lies below a data root: parts, folders, people and their files. No picture is opened."""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vtonlab.datasets.readers.layout import Folder, Place, describe_folder, owner, scan
from vtonlab.datasets.readers.lists import PICTURE_SUFFIXES, stem
from vtonlab.doctor.findings import Report
from vtonlab.doctor.kinds import ARCHIVES, JUNK, SPLITS, UNREAD, Kind, recognise

REQUIRED = ("person", "garment")


@dataclass
class Member:
    """A person of a part with its garment.

    Args:
        split: by the folder, else by the list that names it, else ``train``.
        files: map -> file; None where the map has a folder but this person no file in it.
    """

    id: str
    garment_id: str
    category: str
    split: str
    files: dict[str, Path | None]


@dataclass
class Part:
    """Folders that belong together: a split of VITON-HD, a category of Dress Code, all of MPV."""

    name: str
    parent: Path
    splits: tuple[str, ...]
    category: str
    places: Mapping[str, Place]
    folders: dict[str, Folder] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)

    def has(self, name: str, wanted: str) -> bool:
        """Whether the file of a map is there, by the person's or garment's name."""
        folder = self.folders.get(name)
        return folder is not None and folder.find(self.places[name], wanted) is not None

    def photographed(self, kind: Kind) -> list[str]:
        """Names of the people that have a photograph here."""
        folder = self.folders.get("person")
        files = sorted(folder.files) if folder else []
        files = [name for name in files if not JUNK.match(os.path.basename(name))]
        return [stem(name) for name in files if kind.is_person(stem(name))]

    def member(
        self, kind: Kind, person: str, garment: str, category: str = "", split: str = "train"
    ) -> Member:
        """A person with its files."""
        files = {}
        for name, folder in self.folders.items():
            mine = garment if owner(name) == "garment" else person
            files[name] = folder.find(kind.layout.places[name], mine)
        split = self.splits[0] if len(self.splits) == 1 else split
        return Member(person, garment, category or self.category, split, files)


def relative(path: Path, root: Path) -> str:
    """Below the root, with ``/``; ``.`` is the root itself."""
    return path.relative_to(root).as_posix()


def find_root(root: Path, wanted: str | None, report: Report) -> tuple[Path, Kind] | None:
    """The data root and its kind; also one folder up or down, which is a finding.

    Returns:
        None, with findings or without, where no data set is recognised.
    """
    here = recognise(root, wanted)
    if here is not None and here[0].listed:
        return root, here[0]
    below = sorted(path for path in root.iterdir() if path.is_dir())
    for near in (*below, root.parent):
        found = recognise(near, wanted) if os.access(near, os.R_OK | os.X_OK) else None
        clearer = here is None or (found is not None and found[1] > 2 * here[1])
        if found is not None and clearer and not found[0].listed:
            report.add("nested-root", ".", [str(near)])
            return near, found[0]
    if here is not None:
        return root, here[0]
    packed = sorted(p.name for p in root.iterdir() if p.suffix.lower() in ARCHIVES)
    if packed:
        report.add("archive", ".", packed)
    return None


def parts_of(root: Path, kind: Kind) -> list[Part]:
    """The parts that exist, each once."""
    found: dict[Path, Part] = {}
    for pattern in kind.layout.parents:
        for split in SPLITS:
            for category in kind.layout.categories:
                name = pattern.format(split=split, category=category)
                path = root / name
                if path.is_dir():
                    split_known = "{split}" in pattern
                    splits = (split,) if split_known else SPLITS
                    several = "{category}" not in pattern and len(kind.layout.categories) > 1
                    mine = "" if several else category
                    part = Part(name or ".", path, splits, mine, kind.layout.places)
                    found.setdefault(path, part)
    names = {folder for place in kind.layout.places.values() for folder in place.folders}
    return [
        part
        for part in found.values()
        if any((part.parent / name).exists() for name in names) or _like(part.parent, names)
    ]


def _like(parent: Path, names: Iterable[str]) -> bool:
    """Whether a folder here is close to one that a layout names."""
    return any(True for _ in misspelt(parent, names))


def misspelt(parent: Path, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(folder that lies here, name it is close to)."""
    known = {name.lower(): name for name in names}
    for path in sorted(p for p in parent.iterdir() if p.is_dir()):
        if path.name in known.values() or path.name in UNREAD:
            continue
        near = difflib.get_close_matches(path.name.lower().replace(" ", ""), known, 1, cutoff=0.75)
        if near:
            yield path.name, known[near[0]]


def open_folders(root: Path, kind: Kind, part: Part, report: Report) -> None:
    """Scan the folders of a part; what is missing, misspelt, doubled or empty is reported."""
    places = kind.layout.places
    wrong = dict.fromkeys(
        (there, near)
        for there, near in misspelt(
            part.parent, {n for p in places.values() for n in p.folders if "/" not in n}
        )
    )
    near_names = {near for _, near in wrong}
    for there, near in wrong:
        report.add(
            "folder-misspelt",
            relative(part.parent / there, root),
            detail=f"{there}/ is not read; {near}/ would be",
        )
    told: set[tuple[str, ...]] = set()
    for name, place in places.items():
        folder = _scan(root, part.parent, place, report)
        first = place.folders not in told
        told.add(place.folders)
        if folder is not None:
            part.folders[name] = folder
            if first:
                _check_folder(root, kind, part, place, folder, report)
        elif first and not near_names & set(place.folders):
            _report_missing(root, kind, part, name, place, report)


def _scan(root: Path, parent: Path, place: Place, report: Report) -> Folder | None:
    try:
        return scan(parent, place, root)
    except ValueError:  # a link leads out
        folder = scan(parent, place, root, follow_links=True)
        paths = [folder.path, *(folder.path / file for file in folder.files.values())]
        outside = [p for p in paths if not p.resolve().is_relative_to(root.resolve())]
        report.add("link-outside", relative(folder.path, root), _names(outside, root))
        if folder.path in outside:
            return None
        inside = {k: v for k, v in folder.files.items() if folder.path / v not in outside}
        return Folder(folder.path, inside)
    except PermissionError as error:
        report.add("unreadable-folder", relative(Path(error.filename), root))
        return None


def _names(paths: Iterable[Path], root: Path) -> list[str]:
    return [relative(path, root) for path in paths]


def _check_folder(
    root: Path, kind: Kind, part: Part, place: Place, folder: Folder, report: Report
) -> None:
    where = relative(folder.path, root)
    used = folder.path.relative_to(part.parent).as_posix()
    if used != place.folders[0]:
        report.add("folder-alias", where, detail=f"read as {place.folders[0]}/")
    twins = [n for n in place.folders if n != used and (part.parent / n).is_dir()]
    if twins and not kind.twins:
        report.add("folder-twice", where, detail=f"{used}/ is read, {', '.join(twins)}/ is not")
    if not folder.files:
        report.add("folder-empty", where)
    rivals = [f"{where}/{kept} is read, {other} is not" for kept, other in folder.rivals()]
    if rivals:
        report.add("two-formats", where, rivals)
    junk = [f for f in folder.files.values() if JUNK.match(os.path.basename(f))]
    if junk:
        report.add("junk-files", where, [f"{where}/{file}" for file in sorted(junk)])


def _report_missing(
    root: Path, kind: Kind, part: Part, name: str, place: Place, report: Report
) -> None:
    where = relative(part.parent / place.folders[0], root)
    if name in REQUIRED:
        report.add("folder-required", where, detail=describe_folder(part.parent))
    elif any(kind.shipped(name, split) for split in part.splits):
        source = kind.layout.derived.get(name)
        made = f"{name} is then made from {' and '.join(source)}" if source else ""
        report.add("folder-missing", where, detail=made or f"there is no {name}")


def add_members(kind: Kind, part: Part, listed: Iterable[tuple[str, str, str, str]]) -> None:
    """Give a part its people: those listed, else those that have a photograph.

    Args:
        listed: (person, garment, category or "", split) of all lists that may speak of this part.
    """
    for person, garment, category, split in listed:
        if split not in part.splits or (category and part.category not in ("", category)):
            continue
        if person not in part.members:
            garment = kind.own(person) if kind.own else garment
            part.members[person] = part.member(kind, person, garment, category, split)
    if not part.members and kind.own is not None:
        for person in part.photographed(kind):
            part.members[person] = part.member(kind, person, kind.own(person))


def check_files(root: Path, kind: Kind, part: Part, report: Report) -> None:
    """Who lacks which file; files that nobody owns; folders whose names nobody understands."""
    members = [m for m in part.members.values() if m.files.get("person") is not None]
    for name, folder in part.folders.items():
        where = relative(folder.path, root)
        lacking = [m.id for m in members if m.files[name] is None]
        report.folders.setdefault(part.name, {})[name] = dict(
            folder=where, files=len(folder.files), people=len(members) - len(lacking)
        )
        if not folder.files or not lacking:
            continue
        if len(lacking) < len(members):
            report.add("missing-files", where, lacking, of=len(members))
        elif name == "garment":
            wanted = next(iter(members)).garment_id
            report.add("no-garments", where, detail=f"{lacking[0]} wears {wanted}, for example")
        elif not _shared(part, name):  # MPV's product pictures have no parse beside the people's
            wanted = next(iter(kind.layout.places[name].candidates(lacking[0])))
            examples = [f"{where}/{file}" for file in sorted(folder.files.values())[:3]]
            report.add("names-not-understood", where, examples, detail=f"{wanted} would be read")
    report.people[part.name] = len(members)
    _report_orphans(root, kind, part, report)


def _shared(part: Part, name: str) -> bool:
    """Whether another map lies in the same folder."""
    path = part.folders[name].path
    return any(path == f.path for other, f in part.folders.items() if other != name)


def _report_orphans(root: Path, kind: Kind, part: Part, report: Report) -> None:
    """Files of maps whose person or garment has no photograph (where a folder has one map)."""
    people = set(part.photographed(kind))
    if kind.own is None or not people:
        return  # only lists know what belongs together
    expected: dict[str, set[Path]] = {}
    for person in people:
        for name, path in part.member(kind, person, kind.own(person)).files.items():
            expected.setdefault(name, set()).add(path)
    for name, folder in part.folders.items():
        if name in REQUIRED or _shared(part, name) or not expected[name] - {None}:
            continue
        kept = {folder.path / file for file in folder.files.values()} - expected[name]
        where = relative(folder.path, root)
        kept = {path for path in kept if not JUNK.match(path.name)}
        others = _listed_garments(part, name)
        left = sorted(path for path in kept if stem(path.name) not in others)
        if left:
            report.add("orphan-files", where, _names(left, root))


def _listed_garments(part: Part, name: str) -> set[str]:
    """Names in the garment folder, which may have garments that nobody wears."""
    folder = part.folders.get("garment")
    return {stem(n) for n in folder.files} if folder and owner(name) == "garment" else set()


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES
