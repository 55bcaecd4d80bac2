"""A table of pairs (`PairListDataset`): its rows are the people, its columns their files."""

from pathlib import Path

from vtonlab.datasets.readers.files import rotated
from vtonlab.datasets.readers.lists import Item, Pair, category_of, named, read_records, stem
from vtonlab.doctor.findings import Report
from vtonlab.doctor.kinds import SPLITS, Kind
from vtonlab.doctor.survey import Member, Part, relative
from vtonlab.utils.paths import resolve_inside


def table_part(root: Path, kind: Kind, report: Report) -> Part:
    """The one part of such a set; bad rows, files outside and missing files are reported."""
    part = Part(".", root, SPLITS, "", kind.layout.places)
    path = next(root / name for name in kind.layout.lists if (root / name).is_file())
    where = relative(path, root)
    try:
        records = read_records(path)
    except (ValueError, OSError) as error:
        report.add("list-unreadable", where, [str(error)])
        return part
    for record in records:
        line = record.pop("", "?")
        try:
            member = _member(root, kind, path, record)
        except ValueError as error:
            code = "list-hostile" if "may not be read" in str(error) else "list-unreadable"
            report.add(code, where, [f"line {line}: {error}"])
            continue
        for name, file in list(member.files.items()):
            if not file.is_file():
                member.files[name] = None
                text = f"{member.id}: {relative(file, root.resolve())}"
                code = "missing-files"
                if name in ("person", "garment"):
                    code = "list-entries-without-files"
                report.add(code, where, [text], detail=name, of=len(records))
        part.members[f"{member.id} {member.garment_id}"] = member
    pairs = [Item(Pair(m.id, m.garment_id), m.category) for m in part.members.values()]
    if rotated(pairs):
        report.add("list-rotated", where, [named(item.pair) for item in pairs])
    report.people[part.name] = len(part.members)
    for name in dict.fromkeys(n for m in part.members.values() for n in m.files):
        people = sum(m.files.get(name) is not None for m in part.members.values())
        entry = dict(folder=where, files=people, people=people)
        report.folders.setdefault(part.name, {})[name] = entry
    return part


def _member(root: Path, kind: Kind, path: Path, record: dict[str, str]) -> Member:
    for name in ("person", "garment"):
        if not record.get(name):
            raise ValueError(f"no {name}")
    category = category_of(record["category"], path) if record.get("category") else ""
    columns = [name for name in kind.layout.places if record.get(name)]
    files: dict[str, Path | None] = {n: resolve_inside(root, record[n]) for n in columns}
    split = record.get("split") or "train"
    return Member(stem(record["person"]), stem(record["garment"]), category, split, files)
