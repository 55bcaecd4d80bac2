"""Matches on disk: computed once, never silently stale.

A store is one directory for one matcher and one data set split::

    work_dirs/matches/SIFTMatcher-3f2a90c1d4/
        manifest.json            settings, versions, and when complete one line per pair
        pairs/<person>__<garment>.npz

Every file is written under a temporary name, synced and renamed, so that a killed extraction leaves
only whole files; every pair file carries a checksum and the hashes of its two photographs. The
same pictures and settings give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from vtonlab.structures.correspondences import Correspondences

DEFAULT_ROOT = "work_dirs/matches"
DEFAULT_MAPS = ("mask", "garment_mask")
FORMAT = 1
_ARRAYS = ("person_points", "garment_points", "scores")


def plain_settings(value):
    """Config values as plain JSON: dicts, lists, numbers, strings; a class becomes its name."""
    if isinstance(value, Mapping):
        return {str(k): plain_settings(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_settings(v) for v in value]
    if isinstance(value, type):
        return value.__name__
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"matcher settings must be numbers, strings, lists and dicts, not {value!r}")


def describe_difference(written: Mapping, wanted: Mapping, prefix: str = "") -> list[str]:
    """``key: written X, wanted Y`` for every value that differs between two settings."""
    lines = []
    for key in sorted({*written, *wanted}):
        a, b = written.get(key, "(default)"), wanted.get(key, "(default)")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += describe_difference(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: written {a!r}, wanted {b!r}")
    return lines


def store_request(matches: Mapping, data_root, split: str) -> tuple[Path, dict]:
    """Directory and identity (matcher, maps, data_root, split) of the store a config asks for."""
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
    text = json.dumps(identity, sort_keys=True)
    name = f"{identity['matcher']['type']}-{hashlib.blake2b(text.encode()).hexdigest()[:10]}"
    return Path(matches.get("root") or DEFAULT_ROOT) / name, identity


def open_store(matches: Mapping, data_root, split: str) -> MatchStore:
    """The finished store of a config's ``matches``, for reading.

    Args:
        matches: ``dict(matcher=dict(type="SIFTMatcher", ...))``. Optional: ``root`` (the folder
            of all stores, ``"work_dirs/matches"``) and ``maps`` (the sample's maps that the matcher
            may see besides the photographs, ``("mask", "garment_mask")``). Settings left out are
            the matcher's defaults.
        data_root: folder of the data set.
        split: name of the split, such as ``"train"``.

    Raises:
        FileNotFoundError: nothing was extracted with these settings; names the command that does
            and, where matches of other settings lie beside it, what differs.
        ValueError: the store there was written with other settings, or is not finished.
    """
    directory, identity = store_request(matches, data_root, split)
    if not (directory / "manifest.json").is_file():
        raise FileNotFoundError(
            f"no matches for {identity['data_root']} ({split}) in {directory}; make them with "
            f"`python tools/extract_matches.py CONFIG --cfg-options data_root={data_root}`, where "
            f"CONFIG is the config of this run{_neighbours(directory, identity)}"
        )
    store = MatchStore(directory)
    store.check(identity)
    if not store.manifest["complete"]:
        raise ValueError(
            f"matches in {directory} are not finished; the same `python tools/extract_matches.py` "
            "command goes on where it stopped"
        )
    return store


def _neighbours(directory: Path, identity: Mapping) -> str:
    """What distinguishes the nearest other store of this matcher, as a clause of a sentence."""
    best = None
    for manifest in sorted(directory.parent.glob(f"{identity['matcher']['type']}-*/manifest.json")):
        try:
            written = _read_manifest(manifest)
        except ValueError:
            continue
        lines = describe_difference({k: written.get(k) for k in identity}, identity)
        if best is None or len(lines) < len(best[1]):
            best = (manifest.parent, lines)
    return "" if best is None else f" ({best[0]} differs in {'; '.join(best[1])})"


def _read_manifest(path: Path) -> dict:
    try:
        manifest = json.loads(path.read_text())
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}, this vtonlab reads {FORMAT}")
        return manifest
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(
            f"cannot read {path} ({error}); delete its folder and extract again"
        ) from None


def write_atomic(path: Path, data: bytes) -> None:
    """Write under a temporary name in the same folder, sync, rename: never half a file."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove temporary files whose writers are dead."""
    for leftover in directory.rglob(".tmp-*"):
        try:
            os.kill(int(leftover.name.split("-")[1]), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            leftover.unlink(missing_ok=True)
        except PermissionError:
            pass  # alive, and somebody else's


def file_hash(path) -> str:
    """blake2b (128 bit) of a file's bytes."""
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def pair_key(person_id: str, garment_id: str) -> str:
    """File name stem of a pair; ids may hold any character."""
    return f"{quote(str(person_id), safe='')}__{quote(str(garment_id), safe='')}"


def _checksum(arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()


class MatchStore:
    """One directory of matches. Use :func:`open_store` to read and :meth:`create` to write.

    Args:
        directory: an existing store.
    """

    def __init__(self, directory) -> None:
        self.directory = Path(directory)
        self.manifest = _read_manifest(self.directory / "manifest.json")
        self._verified: set[str] = set()  # pairs whose photographs were hashed in this process

    @classmethod
    def create(cls, matches: Mapping, data_root, split: str, versions: Mapping) -> MatchStore:
        """Start a store, or go on with one of the same settings and versions.

        Raises:
            ValueError: the store there was written with other settings or versions.
        """
        directory, identity = store_request(matches, data_root, split)
        (directory / "pairs").mkdir(parents=True, exist_ok=True)
        sweep(directory)
        identity = {**identity, "versions": dict(versions)}
        if (directory / "manifest.json").is_file():
            store = cls(directory)
            store.check(identity)
            return store
        manifest = {"format": FORMAT, **identity, "complete": False, "pairs": {}, "failed": {}}
        write_atomic(directory / "manifest.json", _json_bytes(manifest))
        return cls(directory)

    def check(self, identity: Mapping) -> None:
        """``ValueError`` that says what differs if this store is not the one asked for."""
        lines = describe_difference({k: self.manifest.get(k) for k in identity}, identity)
        if lines:
            raise ValueError(
                f"matches in {self.directory} were made differently: {'; '.join(lines)}; "
                "use the same settings, or delete the folder and extract again"
            )

    def path(self, person_id: str, garment_id: str) -> Path:
        return self.directory / "pairs" / f"{pair_key(person_id, garment_id)}.npz"

    def write(
        self,
        person_id: str,
        garment_id: str,
        matches: Correspondences,
        files: Sequence = (),
        report: Mapping[str, int] | None = None,
    ) -> None:
        """Store one pair: its matches, the hashes of its photographs, what each filter removed."""
        arrays = matches.to_dict()
        arrays["images"] = np.array([file_hash(f) for f in files], dtype="S32")
        arrays["report"] = np.frombuffer(json.dumps(report or {}).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, checksum=np.frombuffer(_checksum(arrays), dtype=np.uint8))
        write_atomic(self.path(person_id, garment_id), buffer.getvalue())

    def _load(self, person_id: str, garment_id: str) -> dict[str, np.ndarray]:
        path = self.path(person_id, garment_id)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            stored = arrays.pop("checksum").tobytes()
            if _checksum(arrays) != stored:
                raise ValueError("its checksum does not match")
        except FileNotFoundError:
            reason = self.manifest["failed"].get(pair_key(person_id, garment_id))
            raise FileNotFoundError(
                f"no matches of person {person_id!r} and garment {garment_id!r} in "
                f"{self.directory}; "
                + (f"their extraction failed: {reason}" if reason else "run the extraction again")
            ) from None
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"match file {path} is damaged ({error}); run the same "
                "`python tools/extract_matches.py` command again to recompute it"
            ) from None
        return arrays

    def read(self, person_id: str, garment_id: str, files: Sequence = ()) -> Correspondences:
        """The matches of one pair.

        Args:
            files: the person and garment photographs, whose contents must be those that were
                matched (hashed once per process).

        Raises:
            FileNotFoundError: the pair is not in the store.
            ValueError: the file is damaged, or a photograph has changed; names it.
        """
        arrays = self._load(person_id, garment_id)
        key = pair_key(person_id, garment_id)
        if files and key not in self._verified:
            _check_images(arrays, files)
            self._verified.add(key)
        return Correspondences.from_dict({name: arrays[name] for name in _ARRAYS})

    def state(self, person_id: str, garment_id: str, files: Sequence) -> str:
        """``"current"``, ``"missing"``, or why this pair must be computed again.

        Args:
            files: the person and garment photographs.
        """
        if not self.path(person_id, garment_id).is_file():
            return "missing"
        try:
            _check_images(self._load(person_id, garment_id), files)
        except ValueError as error:
            return str(error).split("; run ")[0]
        return "current"

    def discard(self, person_id: str, garment_id: str) -> None:
        """Remove what is stored of a pair, if anything."""
        self.path(person_id, garment_id).unlink(missing_ok=True)

    def check_pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        """``ValueError`` naming the first of ``pairs`` the store lacks, before training starts."""
        listed, failed = self.manifest["pairs"], self.manifest["failed"]
        missing = [key for key in (pair_key(*pair) for pair in pairs) if key not in listed]
        if missing:
            reason = failed.get(missing[0], "it was not in the data set then")
            raise ValueError(
                f"{len(missing)} of {len(pairs)} pairs have no matches in {self.directory}, first "
                f"{missing[0]} ({reason}); run `python tools/extract_matches.py` again"
            )

    def report(self, person_id: str, garment_id: str) -> dict[str, int]:
        """How many candidates each step left for one pair, as its matcher reported."""
        return json.loads(self._load(person_id, garment_id)["report"].tobytes() or b"{}")

    def finish(self, pairs: Sequence[tuple[str, str]], failed: Mapping[str, str]) -> None:
        """Close the store: list every pair with its count and image hashes, and what failed."""
        listed = {}
        for person_id, garment_id in pairs:
            key = pair_key(person_id, garment_id)
            if key in failed:
                continue
            arrays = self._load(person_id, garment_id)
            listed[key] = {
                "matches": len(arrays["scores"]),
                "images": [value.decode() for value in arrays["images"].tolist()],
            }
        sweep(self.directory)
        self.manifest.update(complete=True, pairs=listed, failed=dict(sorted(failed.items())))
        write_atomic(self.directory / "manifest.json", _json_bytes(self.manifest))


def _check_images(arrays: Mapping[str, np.ndarray], files: Sequence) -> None:
    for path, before in zip(files, arrays["images"].tolist(), strict=True):
        now = file_hash(path)
        if now != before.decode():
            raise ValueError(
                f"{path} has changed since its matches were made (hash {now[:8]}, was "
                f"{before.decode()[:8]}); run `python tools/extract_matches.py` again"
            )


def _json_bytes(data: Mapping) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()
