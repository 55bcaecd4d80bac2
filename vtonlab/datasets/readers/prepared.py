"""Maps that are made from photographs once, and kept beside them until the photographs change."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from mmengine.logging import print_log

from vtonlab.datasets.readers.lists import Item, named, some
from vtonlab.registry import ESTIMATORS
from vtonlab.structures.pair_store import file_hash, plain_settings, write_atomic
from vtonlab.utils.bounded import read_json
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
    """The rows with columns for the maps that they lack, made now where they were not before, or
    where the photograph is another one since.

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
    refused, kept, progress = {}, {}, Progress("photographs prepared")
    with Sources(root, folder) as sources:
        for done, (item, row) in enumerate(rows.items(), 1):
            targets = {n: _place(folder, n, row, item.category) for n in wanted if not row.get(n)}
            open_ones = {n: p for n, p in targets.items() if not sources.agree(p, _photo(n, row))}
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
                sources.note({path: _photo(name, row) for name, path in open_ones.items()})
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


def _photo(name: str, row: Mapping[str, str]) -> str:
    """The photograph that a map is made from, as the table has it."""
    return row["garment" if name in GARMENT_MAPS else "person"]


def _place(folder: Path, name: str, row: Mapping[str, str], category: str) -> Path:
    """Of a map: no two photographs share it, whatever folders and endings they have."""
    kind = f"__{category}" if name == "mask" else ""
    owner = quote(_photo(name, row), safe="")
    return folder / name / f"{owner}{kind}{SUFFIXES.get(name, '.png')}"


class Sources:
    """Which photograph each prepared map was made from: ``sources.json`` beside the maps, written
    when this is left, however it is left.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder, self.file = root, folder, folder / "sources.json"
        self.known: dict[str, dict] = read_json(self.file) if self.file.is_file() else {}

    def __enter__(self) -> "Sources":
        return self

    def __exit__(self, *_) -> None:
        text = json.dumps(self.known, indent=0, sort_keys=True)
        if not self.file.is_file() or self.file.read_text() != text:
            write_atomic(self.file, text.encode())

    def agree(self, path: Path, photo: str) -> bool:
        """Whether a map is there and its photograph is still the one that it was made from."""
        before = self.known.get(self._name(path))
        if not path.is_file() or before is None:
            return False
        if not (self.root / photo).is_file():
            return True  # who reads it says so
        return self._state(photo, before)["hash"] == before["hash"]

    def note(self, made: Mapping[Path, str]) -> None:
        """Maps that were made from these photographs now."""
        self.known |= {self._name(path): self._state(photo) for path, photo in made.items()}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _state(self, photo: str, before: Mapping = MappingProxyType({})) -> dict:
        found = (self.root / photo).stat()
        state = dict(size=found.st_size, mtime_ns=found.st_mtime_ns)
        if all(before.get(key) == value for key, value in state.items()):
            return {**before}
        return state | dict(hash=file_hash(self.root / photo))


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
