"""Maps that are made from photographs once, and kept beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.logging import print_log

from vtonlab.datasets.readers.lists import Item, named, some
from vtonlab.registry import ESTIMATORS
from vtonlab.structures.pair_store import plain_settings, write_atomic
from vtonlab.utils.progress import Progress

SUFFIXES = {"keypoints": ".json"}
PERSON_MAPS, GARMENT_MAPS = ("mask", "pose", "parse", "keypoints"), ("garment_mask",)
WARNING = 30  # logging's level


def maps_to_make(maps: Sequence[str], build_mask: Mapping | None, task: str) -> tuple[str, ...]:
    """Of a data set's maps those that `Preparation` is to make, where no column has them."""
    wanted = set(maps)
    if wanted & {"mask", "agnostic"}:
        wanted |= {"mask"} if build_mask is None else {"parse", "keypoints"}
    if build_mask is not None:
        wanted -= {"mask"}
    if "worn_mask" in wanted:
        wanted |= {"parse"}
    if task == "pose_transfer":
        wanted -= {"mask"}
    if task != "try_on":
        wanted -= {"garment_mask"}
    return tuple(name for name in (*PERSON_MAPS, *GARMENT_MAPS) if name in wanted)


def add_prepared(
    root: Path,
    rows: Mapping[Item, dict[str, str]],
    config: Mapping,
    wanted: Sequence[str],
    missing: str,
) -> dict[Item, dict[str, str]]:
    """The rows with columns for the maps that they lack, made now where they were not before.

    Args:
        root: the data root.
        config: of the estimator, with ``folder``.
        missing: ``"error"`` or ``"skip"`` people that cannot be prepared.

    Raises:
        ValueError: photographs that cannot be prepared, by name and with the reason; maps that
            were made with other settings.
    """
    config = dict(config)
    folder = root / config.pop("folder", "prepared")
    estimator = ESTIMATORS.build(config)
    _check_settings(folder, plain_settings(estimator.settings()))
    refused, kept, done, progress = {}, {}, 0, Progress("photographs prepared")
    for item, row in rows.items():
        targets = {name: _place(folder, name, item) for name in wanted if not row.get(name)}
        open_ones = {name: path for name, path in targets.items() if not path.is_file()}
        done += 1
        if open_ones:
            try:
                person, garment = root / row["person"], root / row["garment"]
                needs = garment if set(open_ones) & set(GARMENT_MAPS) else None
                made = estimator.of_files(person, needs, item.category, open_ones)
            except (ValueError, OSError) as error:
                if isinstance(error, FileNotFoundError) and "get_estimators" in str(error):
                    raise
                refused[named(item.pair)] = str(error)
                continue
            for warning in made.warnings:
                print_log(f"{row['person']}: {warning}", level=WARNING)
            progress(done, 0, len(rows))
        kept[item] = row | {n: p.relative_to(root).as_posix() for n, p in targets.items()}
    if refused:
        told = f"{len(refused)} of {len(rows)} people cannot be prepared: " + some(
            [f"{name} ({why})" for name, why in refused.items()], "; "
        )
        if missing == "error" or not kept:
            raise ValueError(
                f"{told}; take them out of the list" + (", or set missing='skip'" if kept else "")
            )
        print_log(f"{told}; they are skipped", level=WARNING)
    return kept


def _place(folder: Path, name: str, item: Item) -> Path:
    owner = item.pair.garment_id if name in GARMENT_MAPS else item.pair.id
    kind = f"__{item.category}" if name == "mask" else ""
    return folder / name / f"{owner.replace('/', '__')}{kind}{SUFFIXES.get(name, '.png')}"


def _check_settings(folder: Path, settings: dict) -> None:
    """Maps of two settings do not mix."""
    path, text = folder / "settings.json", json.dumps(settings, indent=1, sort_keys=True)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())
    elif path.read_text() != text:
        raise ValueError(
            f"the maps in {folder} were made with other settings ({path.name} says which): remove "
            "the folder, or set prepare=dict(..., folder=...) to another"
        )
