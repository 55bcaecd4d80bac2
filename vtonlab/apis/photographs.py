"""Plain photographs made a data set: whoever lies in folders or stands in a table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vtonlab.datasets.readers.lists import PICTURE_SUFFIXES, category_of, read_records
from vtonlab.estimators import Preparation
from vtonlab.estimators.folder import Photographs, prepare_photographs
from vtonlab.structures.sample import CATEGORIES

PEOPLE, GARMENTS = ("person", "people", "image"), ("garment", "garments", "cloth")


def prepare_folder(
    photos: str | Path,
    out: str | Path,
    preparation: Preparation | None = None,
    *,
    layout: str = "vitonhd",
    category: str = "upper_body",
    split: str = "train",
    size: tuple[int, int] = (1024, 768),
    previews: bool = True,
    progress: Callable[[int, int, int], None] | None = None,
) -> dict:
    """Make a data set of a folder or a table of photographs; see ``tools/prepare.py``.

    Args:
        photos: see `find_photographs`.
        out, layout, split, size, previews, progress: see `prepare_photographs`.
        preparation: makes the maps; None: the default estimators.
        category: of garments of which neither folder nor table says it.

    Returns:
        ``people`` (names), ``refused`` (name -> why) and ``warnings`` (name -> sentences).

    Raises:
        FileNotFoundError, ValueError: no photographs, or nobody in them who can be prepared.
    """
    found = find_photographs(Path(photos), category)
    return prepare_photographs(
        found, Path(out), preparation or Preparation(), layout=layout, split=split, size=size,
        previews=previews, progress=progress,
    )  # fmt: skip


def find_photographs(photos: Path, category: str = "upper_body") -> list[Photographs]:
    """Everybody of a folder, or of a table.

    Args:
        photos: a folder with ``person/`` and ``garment/``, or with these below ``upper_body/``,
            ``lower_body/`` and ``dresses/``; a table (`read_records`) with the columns person,
            garment and maybe category, whose files lie beside it; or a folder with ``pairs.csv``.
        category: of garments of which neither folder nor table says it.

    Raises:
        FileNotFoundError, ValueError: no such folders, nobody in them, two pictures of one name.
    """
    table = photos / "pairs.csv" if (photos / "pairs.csv").is_file() else photos
    if table.is_file():
        return _of_table(table, category)
    kinds = [name for name in CATEGORIES if (photos / name).is_dir()]
    if kinds:
        return _distinct([f for kind in kinds for f in _of_folders(photos / kind, kind)])
    return _of_folders(photos, category)


def _of_folders(photos: Path, category: str) -> list[Photographs]:
    people, garments = _pictures(photos, PEOPLE), _pictures(photos, GARMENTS)
    return [Photographs(n, category, path, garments.get(n)) for n, path in people.items()]


def _pictures(photos: Path, names: Sequence[str]) -> dict[str, Path]:
    """Name -> file of the first of some folders that is there."""
    folder = next((photos / name for name in names if (photos / name).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"{photos} has no folder {' or '.join(names)}: put photographs of people in person/ "
            "and each one's garment, under the same name, in garment/, or give a table"
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PICTURE_SUFFIXES or path.name.startswith("."):
            continue
        name = _plain(path)
        if name in found:
            raise ValueError(f"{found[name]} and {path} have one name: remove the one not meant")
        found[name] = path
    if not found:
        raise FileNotFoundError(f"{folder} holds no picture ({', '.join(PICTURE_SUFFIXES)})")
    return found


def _distinct(people: Sequence[Photographs]) -> list[Photographs]:
    """One name for each: who wears something of a second category is called so."""
    found: dict[str, Photographs] = {}
    for who in people:
        name = who.name if who.name not in found else f"{who.name}__{who.category}"
        found[name] = who._replace(name=name)
    return list(found.values())


def _of_table(table: Path, category: str) -> list[Photographs]:
    """Whoever stands there with a second garment is a second person, called after both."""
    found: dict[str, Photographs] = {}
    for record in read_records(table):
        if not (record.get("person") and record.get("garment")):
            raise ValueError(f"{table}, line {record['']}: no person or no garment")
        person, garment = (table.parent / record[key] for key in ("person", "garment"))
        kind = category_of(record["category"], table) if record.get("category") else category
        name = _plain(person)
        if name in found:
            name = f"{name}__{_plain(garment)}"
        if name in found:
            raise ValueError(
                f"{table}, line {record['']}: {person.name} with {garment.name} has the name of "
                f"{found[name].person} with {found[name].garment}: rename one"
            )
        found[name] = Photographs(name, kind, person, garment)
    return list(found.values())


def _plain(path: Path) -> str:
    return path.stem.replace(" ", "_")
