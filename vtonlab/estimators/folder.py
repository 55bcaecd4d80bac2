"""A folder of plain photographs made a data set in VITON-HD's layout."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from vtonlab.estimators.files import picture_bytes, write_maps
from vtonlab.estimators.preparation import Prepared
from vtonlab.ops.agnostic import worn_garment
from vtonlab.ops.labels import LIP_PALETTE
from vtonlab.ops.resize import resize_picture
from vtonlab.ops.skeleton import draw_skeleton
from vtonlab.structures.pair_store import write_atomic
from vtonlab.utils.bounded import read_json_lines
from vtonlab.utils.images import read_image
from vtonlab.utils.journal import append, mend

PEOPLE, GARMENTS = ("person", "people", "image"), ("garment", "garments", "cloth")
SUFFIXES = frozenset(".jpg .jpeg .png .webp .avif .heic .heif .tif .tiff .bmp .gif".split())
PLACES = {
    "mask": "agnostic-mask/{}_mask.png",
    "agnostic": "agnostic-v3.2/{}.jpg",
    "pose": "image-densepose/{}.jpg",
    "parse": "image-parse-v3/{}.png",
    "keypoints": "openpose_json/{}_keypoints.json",
    "garment_mask": "cloth-mask/{}.jpg",
}
PREVIEW = 384  # pixels high


def prepare_folder(
    photos: Path,
    out: Path,
    preparation,
    *,
    split: str = "train",
    size: tuple[int, int] = (1024, 768),
    previews: bool = True,
    progress: Callable[[int, int, int], None] | None = None,
) -> dict:
    """Write a data set of the people and garments of ``photos``; see ``tools/prepare.py``.

    Args:
        photos: holds a folder of people and one of garments with the same names.
        out: of the data set.
        preparation: makes the maps.
        split: ``train`` or ``test``.
        size: (height, width) that pictures are made to fit into, if they are larger.
        previews: whether to write a picture of all maps of each person.
        progress: called with (done, found before, all).

    Returns:
        ``people`` (names), ``refused`` (name -> why) and ``warnings`` (name -> sentences).

    Raises:
        FileNotFoundError, ValueError: no such folders, nobody in them, two pictures of one name.
    """
    people, garments = _pictures(photos, PEOPLE), _pictures(photos, GARMENTS)
    report = {"people": [], "refused": {}, "warnings": {}}
    journal = out / f"prepared_{split}.jsonl"
    before = _journal(journal)
    out.mkdir(parents=True, exist_ok=True)
    for done, (name, path) in enumerate(people.items(), 1):
        entry = before.get(name)
        if entry is None:
            files = (path, garments.get(name))
            entry = _prepare_one(name, files, out, preparation, split, size, previews)
            append(journal, entry)
        if entry["refused"]:
            report["refused"][name] = entry["refused"]
        else:
            report["people"].append(name)
        if entry["warnings"]:
            report["warnings"][name] = entry["warnings"]
        if progress is not None:
            progress(done, len(before), len(people))
    _write_lists(out, split, report["people"])
    write_atomic(out / "report.json", json.dumps(report, indent=1).encode())
    if not report["people"]:
        first = next(iter(report["refused"].items()))
        raise ValueError(f"nobody of {photos} could be prepared, such as {first[0]}: {first[1]}")
    return report


def _pictures(photos: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Name -> file of the first of some folders that is there."""
    folder = next((photos / name for name in names if (photos / name).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"{photos} has no folder {' or '.join(names)}: put photographs of people in person/ "
            "and each one's garment, under the same name, in garment/"
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        name = path.stem.replace(" ", "_")
        if name in found:
            raise ValueError(f"{found[name]} and {path} have one name: remove the one not meant")
        found[name] = path
    if not found:
        raise FileNotFoundError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    return found


def _journal(path: Path) -> dict[str, dict]:
    """Entries of a run before, by name; a line cut short is done again."""
    mend(path)
    lines = read_json_lines(path, damaged="any") if path.is_file() else ()
    return {entry["name"]: entry for _, entry in lines}


def _prepare_one(name, files, out, preparation, split, size, previews) -> dict:
    """One person and garment, by their files; the entry of the journal."""
    entry = {"name": name, "refused": "", "warnings": []}
    try:
        if files[1] is None:
            raise ValueError(f"no garment has the name {name}")
        person, garment = (fitted(read_image(file), size) for file in files)
        prepared = preparation(person, garment, "upper_body")
    except (ValueError, OSError) as error:
        if isinstance(error, FileNotFoundError) and "get_estimators" in str(error):
            raise
        return entry | {"refused": str(error)}
    home = out / split
    write_maps(prepared, {key: home / place.format(name) for key, place in PLACES.items()})
    for folder, picture in (("image", person), ("cloth", garment)):
        _write(home / folder / f"{name}.jpg", picture)
    worn = worn_garment(prepared.parse, "upper_body") * np.uint8(255)
    _write(home / "gt_cloth_warped_mask" / f"{name}.png", worn)
    if previews:
        _write(out / "previews" / f"{name}.jpg", preview(prepared))
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


def _write_lists(out: Path, split: str, people: list[str]) -> None:
    """Train: each with its own garment; test: each with the next one's."""
    others = people if split == "train" else [*people[1:], *people[:1]]
    lines = [f"{a}.jpg {b}.jpg" for a, b in zip(people, others, strict=True)]
    write_atomic(out / f"{split}_pairs.txt", ("\n".join(lines) + "\n").encode())
