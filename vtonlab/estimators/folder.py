"""Plain photographs made a data set that every reader and the doctor know."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vtonlab.estimators.files import picture_bytes, write_maps
from vtonlab.estimators.layouts import LAYOUTS, Listed, WrittenLayout
from vtonlab.estimators.preparation import Prepared
from vtonlab.ops.agnostic import worn_garment
from vtonlab.ops.labels import LIP_PALETTE
from vtonlab.ops.resize import resize_picture
from vtonlab.ops.skeleton import draw_skeleton
from vtonlab.structures.pair_store import hashes_of, plain_settings, write_atomic
from vtonlab.utils.bounded import read_json_lines
from vtonlab.utils.images import read_image
from vtonlab.utils.journal import append, mend
from vtonlab.utils.locking import WorkDirLock

SPLITS = ("train", "test")
PREVIEW = 384  # pixels high


class Photographs(NamedTuple):
    """One person and the garment, by their files; None where no garment has the person's name.

    Names are distinct: files are called so.
    """

    name: str
    category: str
    person: Path
    garment: Path | None


def prepare_photographs(
    people: Sequence[Photographs],
    out: Path,
    preparation,
    *,
    layout: str = "vitonhd",
    split: str = "train",
    size: tuple[int, int] = (1024, 768),
    previews: bool = True,
    progress: Callable[[int, int, int], None] | None = None,
) -> dict:
    """Write a data set of some photographs; what was written before is kept, unless a photograph,
    its category, ``size`` or a setting of ``preparation`` is another one since, or a file of it is
    gone; who was refused is tried again.

    Args:
        people: their photographs.
        out: folder of the data set.
        preparation: makes the maps.
        layout: one of `LAYOUTS`.
        split: ``train`` or ``test``.
        size: (height, width) that pictures are made to fit into, if they are larger.
        previews: whether to write a picture of all maps of each person.
        progress: called with (done, found before, all).

    Returns:
        ``people`` (names), ``refused`` (name -> why) and ``warnings`` (name -> sentences).

    Raises:
        ValueError: nobody could be prepared, garments that the layout has no place for, ``out`` has
            another layout, a name that the other split has where both share a place, or another
            process prepares into ``out``.
    """
    written = LAYOUTS[layout]
    _check_categories(people, layout)
    report = {"people": [], "refused": {}, "warnings": {}}
    journal = out / f"prepared_{split}.jsonl"
    with WorkDirLock(out, "--out"):
        before = _journal(journal)
        _check_layout(out, layout)
        settings = plain_settings(preparation.settings())
        how = {"layout": layout, "size": list(size), "preparation": settings}
        _check_places(people, out, written, split, how)
        for done, person in enumerate(people, 1):
            name, entry = person.name, before.get(person.name)
            files = written.files(out, Listed(name, person.category, split))
            if entry is None or not _stands(entry, person, how, files.values()):
                entry = _prepare_one(person, out, preparation, written, split, size, previews)
                append(journal, entry | {"how": how})
            if entry["refused"]:
                report["refused"][name] = entry["refused"]
            else:
                report["people"].append(name)
            if entry["warnings"]:
                report["warnings"][name] = entry["warnings"]
            if progress is not None:
                progress(done, len(before), len(people))
        written.write_lists(out, [who for s in SPLITS for who in _prepared(out, s)])
        write_atomic(out / "report.json", json.dumps(report, indent=1).encode())
    if not report["people"]:
        first = next(iter(report["refused"].items()))
        raise ValueError(f"none of {len(people)} could be prepared, such as {first[0]}: {first[1]}")
    return report


def _check_categories(people: Sequence[Photographs], layout: str) -> None:
    known = LAYOUTS[layout].categories
    unfit = next((person for person in people if person.category not in known), None)
    if unfit is not None:
        raise ValueError(
            f"{unfit.person} goes with a garment of {unfit.category}, but the layout {layout} is "
            f"for {', '.join(known)}: use {' or '.join(sorted(set(LAYOUTS) - {layout}))}"
        )


def _journal(path: Path) -> dict[str, dict]:
    """Entries of a run before, by name; what was cut short or knows no category is done again."""
    mend(path)
    lines = read_json_lines(path, damaged="any") if path.is_file() else ()
    return {entry["name"]: entry for _, entry in lines if "category" in entry}


def _hashes(person: Photographs) -> dict[str, str | None]:
    """Of both photographs; None where there is none."""
    return hashes_of(dict(person=person.person, garment=person.garment))


def _stands(entry: dict, person: Photographs, how: dict, files: Iterable[Path]) -> bool:
    """Whether somebody was prepared from these very photographs, as what they are now, in this way,
    and all files are still there.
    """
    if entry["refused"] or entry["category"] != person.category:
        return False
    if entry.get("how", how) != how or not all(file.is_file() for file in files):
        return False
    return "photographs" not in entry or entry["photographs"] == _hashes(person)


def _check_layout(out: Path, layout: str) -> None:
    """Refuse a second layout: its lists would name people whose files lie in the places of the
    first.
    """
    entries = [e for split in SPLITS for e in _journal(out / f"prepared_{split}.jsonl").values()]
    found = {e["how"]["layout"] for e in entries if "how" in e and not e["refused"]} - {layout}
    if found:
        raise ValueError(
            f"{out} is a data set in the layout {min(found)}, not {layout}: give another --out"
        )


def _check_places(
    people: Sequence[Photographs], out: Path, layout: WrittenLayout, split: str, how: dict
) -> None:
    """Refuse to write other photographs over those of the other split, or the same in another way,
    where a layout has one place for both.
    """
    (other,) = set(SPLITS) - {split}
    taken = _journal(out / f"prepared_{other}.jsonl")
    for person in people:
        held = taken.get(person.name)
        if held is None or held["refused"] or held["category"] != person.category:
            continue
        here, there = (Listed(person.name, person.category, s) for s in (split, other))
        same_place = layout.files(out, here)["person"] == layout.files(out, there)["person"]
        same = held.get("photographs") == _hashes(person) and held.get("how", how) == how
        if same_place and not same:
            raise ValueError(
                f"{person.name} is prepared for {other} already, of other photographs or with "
                "other settings, and this layout has one place for both: give "
                f"{person.person} another name, or another --out"
            )


def _prepared(out: Path, split: str) -> list[Listed]:
    entries = _journal(out / f"prepared_{split}.jsonl").values()
    return [Listed(e["name"], e["category"], split) for e in entries if not e["refused"]]


def _prepare_one(
    person: Photographs, out: Path, preparation, layout: WrittenLayout, split, size, previews
) -> dict:
    """The entry of the journal of one person, whose files are written."""
    entry = {"name": person.name, "category": person.category, "refused": "", "warnings": []}
    entry["photographs"] = _hashes(person)
    try:
        if person.garment is None:
            raise ValueError(f"no garment has the name {person.name}")
        photo, garment = (fitted(read_image(p), size) for p in (person.person, person.garment))
        prepared = preparation(photo, garment, person.category, name=person.person.stem)
    except (ValueError, OSError) as error:
        if isinstance(error, FileNotFoundError) and "get_estimators" in str(error):
            raise
        return entry | {"refused": str(error)}
    files = layout.files(out, Listed(person.name, person.category, split))
    worn = worn_garment(prepared.parse, person.category) * np.uint8(255)
    for name, picture in (("person", photo), ("garment", garment), ("worn_mask", worn)):
        _write(files.pop(name), picture)
    write_maps(prepared, files, parse=layout.parse, keypoints=layout.keypoints)
    if previews:
        _write(out / "previews" / f"{person.name}.jpg", preview(prepared))
    return entry | {"warnings": list(prepared.warnings)}


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture that is larger than ``size`` made to fit into it; others stay."""
    scale = min(size[0] / picture.shape[0], size[1] / picture.shape[1])
    if scale >= 1:
        return picture
    return resize_picture(picture, tuple(max(1, round(n * scale)) for n in picture.shape[:2]))


def preview(prepared: Prepared) -> np.ndarray:
    """Person, keypoints, pose, parse, agnostic picture and garment with its mask, side by side."""
    person = prepared.person
    panels = [
        person,
        draw_skeleton(prepared.keypoints, *person.shape[:2], image=person),
        prepared.pose,
        LIP_PALETTE[prepared.parse],
        prepared.agnostic,
    ]
    if prepared.garment is not None:
        inside = prepared.garment_mask[..., None].astype(bool)
        panels.append(np.where(inside, prepared.garment, prepared.garment // 4))
    return np.concatenate(
        [
            resize_picture(p, (PREVIEW, max(1, round(p.shape[1] * PREVIEW / p.shape[0]))))
            for p in panels
        ],
        1,
    )


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, picture_bytes(Image.fromarray(picture), path.suffix))
