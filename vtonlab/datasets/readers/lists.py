"""Pair lists: who wears what, in the dialects of the field, and which part of them a run takes."""

import codecs
import csv
import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vtonlab.structures.sample import CATEGORIES
from vtonlab.utils.bounded import FileError, naming, parse_json, reason_of
from vtonlab.utils.paths import check_name
from vtonlab.utils.seeding import seed_from

PICTURE_SUFFIXES = (
    *(".jpg", ".png", ".jpeg", ".webp"),
    *(".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp", ".gif"),
)
_SHOWN = 5  # names given in a message before "and N more"
_HEADERS = (("from", "to"), ("person", "garment"), ("person", "cloth"), ("image", "cloth"))


class Pair(NamedTuple):
    """Person and garment, without extensions."""

    id: str
    garment_id: str


class Item(NamedTuple):
    """A pair with what its list says beside the names."""

    pair: Pair
    category: str


def stem(name: str) -> str:
    """``a/b.jpg`` -> ``a/b``; what is no picture's extension stays."""
    base, suffix = os.path.splitext(name)
    return base if suffix.lower() in PICTURE_SUFFIXES else name


def composed(name: str) -> str:
    """One spelling for names that look the same: a Mac writes an accent as a letter of its own."""
    return unicodedata.normalize("NFC", name)


def some(names: Sequence[str], separator: str = ", ") -> str:
    """``a, b, c, d, e and 7 more``."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return separator.join(names[:_SHOWN]) + more


def named(pair: Pair) -> str:
    """A pair for messages."""
    return pair.id if pair.id == pair.garment_id else f"{pair.id} with {pair.garment_id}"


# reading ----------------------------------------------------------------------------------------


def read_rows(path: Path, names: int = 2) -> list[list[str]]:
    """Fields of each line, separated by tabs, semicolons, commas or blanks (in ``.csv`` by commas
    or semicolons alone).

    Blank lines, comments (``#``) and a header line are passed over.

    Args:
        names: how many leading fields are file names, to be checked and freed of extensions; a line
            that has fewer repeats its first.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no pairs, names with blanks between blanks, or a name that could leave the data
            root; names file and line.
    """
    rows = []
    for number, fields in _lines(path):
        fields = [*fields, *[fields[0]] * (names - len(fields))]
        if tuple(field.lower() for field in fields[:2]) in _HEADERS:
            continue
        rows.append([*(_checked(path, number, f) for f in fields[:names]), *fields[names:]])
    if not rows:
        raise ValueError(
            f"pair list {path} holds no pairs; it needs one 'person.jpg garment.jpg' per line"
        )
    return rows


def read_pairs(path: Path) -> list[Pair]:
    """The first two names of every line of `read_rows`."""
    return [Pair(*row[:2]) for row in read_rows(path)]


def read_records(path: Path) -> list[dict[str, str]]:
    """A table whose columns have names: CSV with a header, or JSON lines.

    A CSV without header, and any other text list, has the columns person, garment and category.
    Each record holds the number of its line under ``""``.

    Raises:
        FileNotFoundError, ValueError: as `read_rows`; lines that are no JSON objects.
    """
    records = []
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        for number, line in enumerate(_text(path).splitlines(), 1):
            if line.strip():
                records.append(_json_record(path, number, line))
    else:
        lines = list(_lines(path))
        first = [field.lower() for field in lines[0][1]] if lines else []
        header = ["person", "garment", "category"]
        if "person" in first:
            header, lines = first, lines[1:]
        for number, fields in lines:
            if len(fields) > len(header):
                raise ValueError(
                    f"pair list {path}, line {number} has {len(fields)} fields, its header "
                    f"{len(header)} ({', '.join(header)})"
                )
            records.append(dict(zip(header, fields, strict=False)) | {"": str(number)})
    if not records:
        raise ValueError(f"pair list {path} holds no pairs; it needs the columns person, garment")
    return records


def _json_record(path: Path, number: int, line: str) -> dict[str, str]:
    try:
        record = parse_json(line, path)
        if not isinstance(record, dict):
            raise ValueError("not an object")
        return {str(k): str(v) for k, v in record.items() if v is not None} | {"": str(number)}
    except ValueError as error:
        raise FileError(
            f'pair list {path}, line {number} is no JSON object such as {{"person": "a.jpg", '
            f'"garment": "b.jpg"}} ({reason_of(error)})'
        ) from None


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = _text(path).splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = _fields(path, number, line)
        if any(fields):
            yield number, fields


def _fields(path: Path, number: int, line: str) -> list[str]:
    if "\t" in line and path.suffix.lower() != ".csv":
        return [field.strip() for field in line.split("\t")]
    if ";" in line and ("," not in line or line.find(";") < line.find(",")):
        return _separated(path, number, line, ";")
    if path.suffix.lower() == ".csv":
        return _separated(path, number, line, ",")
    fields = line.replace(",", " ").split()
    pictures = [field.lower().endswith(PICTURE_SUFFIXES) for field in fields]
    if len(fields) > 2 and any(pictures) and not pictures[0]:  # "red dress.jpg blue.jpg"
        raise ValueError(
            f"pair list {path}, line {number} has {fields[0]!r} before the first picture's name: "
            "names with blanks need tabs between them, or a .csv with commas"
        )
    return fields


def _separated(path: Path, number: int, line: str, mark: str) -> list[str]:
    with naming(f"pair list {path}, line {number}"):
        return [field.strip() for field in next(csv.reader([line], delimiter=mark))]


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(
            f"pair list {path} does not exist; it holds one 'person.jpg garment.jpg' per line"
        )
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if 4 * text.count("\0") > len(text) or (wide and not any(c.isascii() for c in text)):
        raise ValueError(
            f"pair list {path} is not a text file in UTF-8 (or UTF-16 with its mark): save it as "
            "UTF-8"
        )
    return text


def _checked(path: Path, number: int, name: str) -> str:
    try:
        return stem(check_name(name))
    except ValueError as error:
        raise ValueError(f"pair list {path}, line {number}: {error}") from None


def category_of(text: str, path: Path) -> str:
    """``upper_body``, ``lower_body`` or ``dresses`` from its name or number (0, 1, 2).

    Raises:
        ValueError: anything else.
    """
    text = text.strip().lower()
    if text in ("0", "1", "2"):
        return CATEGORIES[int(text)]
    aliases = {"upper": "upper_body", "lower": "lower_body", "dress": "dresses"}
    category = aliases.get(text, text)
    if category not in CATEGORIES:
        raise ValueError(
            f"pair list {path}: category {text!r} is none of 0, 1, 2, {', '.join(CATEGORIES)}"
        )
    return category


# choosing ---------------------------------------------------------------------------------------


def held_out(items: Sequence[Item], count: int, seed: int = 0) -> set[str]:
    """Ids of ``count`` people that are kept for validation.

    Which ones depends on names and seed alone, not on the order or length of the list: adding a
    person moves at most one other.

    Raises:
        ValueError: the list is too short.
    """
    ids = sorted({item.pair.id for item in items})
    if not 0 < count < len(ids):
        raise ValueError(f"holdout={count} must leave people to train on: the list has {len(ids)}")
    return set(sorted(ids, key=lambda name: seed_from("holdout", seed, name))[:count])


def read_exclusions(path: Path, split: str, kinds: Collection[str] | None = None) -> set[str]:
    """Names to leave out, without extensions.

    Args:
        path: a text file with one name per line, or JSON ``{split: {kind: [names]}}``, such as the
            published duplicates (``duplicates``) and train-to-test leaks (``leaked``) of VITON-HD.
        kinds: which kinds of a JSON file; all by default.

    Raises:
        FileNotFoundError, ValueError: no such file, neither form, or a kind that it does not have.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"exclude={str(path)!r} does not exist: it names people to leave out"
        )
    if path.suffix.lower() != ".json":
        return {stem(fields[0]) for _, fields in _lines(path)}
    try:
        found = parse_json(_text(path), path).get(split, {})
        lists = {kind: [stem(str(name)) for name in names] for kind, names in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f'exclude={str(path)!r} must hold {{"test": {{"leaked": ["a.jpg", ...]}}}} ({error})'
        ) from None
    unknown = set(kinds or ()) - set(lists)
    if unknown:
        raise ValueError(
            f"exclude: {path} has no {sorted(unknown)[0]!r} for {split}, only {sorted(lists)}"
        )
    return {name for kind, names in lists.items() if not kinds or kind in kinds for name in names}


def exclusion_request(exclude: str | Mapping) -> tuple[str, tuple[str, ...] | None]:
    """File and kinds of an ``exclude`` setting: a path, or ``dict(file=..., kinds=[...])``."""
    if isinstance(exclude, str):
        return exclude, None
    if set(exclude) - {"file", "kinds"} or "file" not in exclude:
        raise ValueError(f"exclude must be a file or dict(file=..., kinds=[...]), not {exclude!r}")
    return exclude["file"], tuple(exclude.get("kinds") or ()) or None
