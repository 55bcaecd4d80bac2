"""Matches on disk: computed once, never silently stale (see `PairStore`).

A store is one directory for one matcher and one data set split, such as
``work_dirs/matches/SIFTMatcher-3f2a90c1d4``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.pair_store import (
    NOTHING,
    Files,
    PairStore,
    neighbours,
    plain_settings,
)
from vtonlab.utils.bounded import FileError, parse_json

DEFAULT_ROOT = "work_dirs/matches"
DEFAULT_MAPS = ("mask", "garment_mask")
_ARRAYS = ("person_points", "garment_points", "scores")


def store_request(
    matches: Mapping, data_root, split: str, settings: Mapping = NOTHING
) -> tuple[Path, dict]:
    """Directory and identity (matcher, maps, data_root, split) of the store a config asks for.

    Args:
        settings: of the data set, that decide the maps (`TryOnDataset.map_settings`).
    """
    unknown = set(matches) - {"matcher", "root", "maps"}
    if unknown or "type" not in (matches.get("matcher") or {}):
        raise ValueError(
            "`matches` must be dict(matcher=dict(type=..., ...)), with root=... and maps=[...] if "
            f"wanted, not {plain_settings(matches)}"
        )
    identity = {
        "matcher": plain_settings(matches["matcher"]),
        "maps": list(DEFAULT_MAPS if matches.get("maps") is None else matches["maps"]),
        "data_root": str(Path(data_root).resolve()),
        "split": str(split),
    }
    if settings and identity["maps"]:
        identity["map_settings"] = plain_settings(settings)
    text = json.dumps(identity, sort_keys=True)
    name = f"{identity['matcher']['type']}-{hashlib.blake2b(text.encode()).hexdigest()[:10]}"
    return Path(matches.get("root") or DEFAULT_ROOT) / name, identity


def of_role(matches: Mapping, role: str) -> dict:
    """A config's ``matches`` for a further garment of the same people: a store below the root."""
    return {**matches, "root": str(Path(matches.get("root") or DEFAULT_ROOT) / role)}


def open_store(matches: Mapping, data_root, split: str, settings: Mapping = NOTHING) -> MatchStore:
    """The finished store of a config's ``matches``, for reading.

    Args:
        matches: ``dict(matcher=dict(type="SIFTMatcher", ...))``. Optional: ``root`` (the folder
            of all stores, ``"work_dirs/matches"``) and ``maps`` (the sample's maps that the matcher
            may see besides the photographs, ``("mask", "garment_mask")``). Settings left out are
            the matcher's defaults.
        data_root: folder of the data set.
        split: name of the split, such as ``"train"``.
        settings: see `store_request`.

    Raises:
        FileNotFoundError: nothing was extracted with these settings; names the command that does
            and, where matches of other settings lie beside it, what differs.
        ValueError: the store there was written with other settings, or is not finished.
    """
    directory, identity = store_request(matches, data_root, split, settings)
    if not (directory / "manifest.json").is_file():
        near = neighbours(directory, f"{identity['matcher']['type']}-*", identity)
        raise FileNotFoundError(
            f"no matches for {identity['data_root']} ({split}) in {directory}; make them with "
            f"`python tools/extract_matches.py CONFIG --cfg-options data_root={data_root}`, where "
            f"CONFIG is the config of this run{near}"
        )
    store = MatchStore(directory)
    store.check(identity)
    store.check_complete()
    return store


class MatchStore(PairStore):
    """One directory of matches. Use :func:`open_store` to read and :meth:`create` to write."""

    what, entry = "matches", "match"
    command = "`python tools/extract_matches.py`"

    @classmethod
    def create(
        cls,
        matches: Mapping,
        data_root,
        split: str,
        versions: Mapping,
        settings: Mapping = NOTHING,
    ) -> MatchStore:
        """Start a store, or go on with one of the same settings and versions.

        Raises:
            ValueError: the store there was written with other settings or versions.
        """
        directory, identity = store_request(matches, data_root, split, settings)
        return cls.start(directory, {**identity, "versions": dict(versions)})

    def write(
        self,
        person_id: str,
        garment_id: str,
        matches: Correspondences,
        files: Files = NOTHING,
        report: Mapping[str, int] | None = None,
    ) -> None:
        """Store one pair: its matches, the hashes of all files that the matcher's maps and
        photographs came from, what each filter removed.
        """
        counts = np.frombuffer(json.dumps(report or {}).encode(), dtype=np.uint8)
        self.save(person_id, garment_id, {**matches.to_dict(), "report": counts}, files)

    def unnamed(self, files: Files) -> list[str]:
        return ["person", "garment"]

    def read(self, person_id: str, garment_id: str, files: Files = NOTHING) -> Correspondences:
        """The matches of one pair.

        Args:
            files: ``person``, ``garment`` and the files of maps, as far as they are known, whose
                contents must be those that were matched.

        Raises:
            FileNotFoundError, ValueError: see `load_fresh`.
        """
        arrays = self.load_fresh(person_id, garment_id, files)
        try:
            return Correspondences.from_dict({name: arrays[name] for name in _ARRAYS})
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise FileError(
                f"match file {self.path(person_id, garment_id)} holds no matches ({error!r})"
            ) from None

    def report(self, person_id: str, garment_id: str) -> dict[str, int]:
        """How many candidates each step left for one pair, as its matcher reported."""
        said = self.load(person_id, garment_id)["report"].tobytes() or b"{}"
        return parse_json(said, self.path(person_id, garment_id))

    def line(self, arrays: Mapping[str, np.ndarray]) -> dict:
        return {"matches": len(arrays["scores"]), **super().line(arrays)}
