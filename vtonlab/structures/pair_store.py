"""What is computed once per pair and kept on disk, never silently stale.

A store is one directory::

    <directory>/
        manifest.json            settings, versions, and when complete one line per pair
        pairs/<person>__<garment>.npz

Every file is written under a temporary name, synced and renamed, so that a killed run leaves only
whole files; every pair file carries a checksum and the hashes of the files it was made from, each
by the name of its map. The same files and settings give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import numpy as np

from vtonlab.utils.bounded import FileError, check_form, read_json, read_npz, reason_of
from vtonlab.utils.writing import sweep, write_atomic

FORMAT = 1
NOTES = ("images", "inputs")  # arrays of an entry that say what it was made from: hashes, names
Files = Mapping[str, "str | Path | None"]  # by map; None for a map that has no file
NOTHING: Mapping = MappingProxyType({})


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
    raise ValueError(f"settings must be numbers, strings, lists and dicts, not {value!r}")


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


def neighbours(directory: Path, pattern: str, identity: Mapping) -> str:
    """What distinguishes the nearest other store beside ``directory``, as a clause of a sentence.

    Args:
        pattern: of the directories to look at, such as ``SIFTMatcher-*``.
    """
    best = None
    for manifest in sorted(directory.parent.glob(f"{pattern}/manifest.json")):
        try:
            written = read_manifest(manifest)
        except ValueError:
            continue
        lines = describe_difference({k: written.get(k) for k in identity}, identity)
        if best is None or len(lines) < len(best[1]):
            best = (manifest.parent, lines)
    return "" if best is None else f" ({best[0]} differs in {'; '.join(best[1])})"


def read_manifest(path: Path) -> dict:
    try:
        manifest = read_json(path)
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}, this vtonlab reads {FORMAT}")
        check_form(manifest, {"complete!": bool, "pairs!": dict, "failed!": {...: str}})
        return manifest
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise FileError(
            f"cannot read {path} ({reason_of(error)}); delete its folder and make it again"
        ) from None


def file_hash(path) -> str:
    """blake2b (128 bit) of a file's bytes."""
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def hashes_of(files: Files) -> dict[str, str | None]:
    """`file_hash` of each named file; None where there is none."""
    return {
        name: file_hash(path) if path is not None and Path(path).is_file() else None
        for name, path in files.items()
    }


def _state(path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written to; None where there is none."""
    if path is None or not Path(path).is_file():
        return None
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def pair_key(person_id: str, garment_id: str) -> str:
    """File name stem of a pair, of no other one; ids may hold any character.

    The first ``__`` ends the person: one whose id holds that has its ``_`` quoted too.
    """
    person, garment = (quote(str(name), safe="") for name in (person_id, garment_id))
    if "__" in person or person.endswith("_"):
        person = person.replace("_", "%5F")
    return f"{person}__{garment}"


def _checksum(arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()


class PairStore:
    """One directory of arrays by pair.

    Args:
        directory: an existing store.
    """

    what = "entries"  # the nouns and the command of its messages
    entry = "entry"
    command = "the command that made it"

    def __init__(self, directory) -> None:
        self.directory = Path(directory)
        self.manifest = read_manifest(self.directory / "manifest.json")
        self._verified: dict[str, dict] = {}  # pair -> state of its files when they were hashed

    @classmethod
    def start(cls, directory: Path, identity: Mapping):
        """A new store of these settings, or the one that is there, to go on with.

        Raises:
            ValueError: the store there was written with other settings or versions.
        """
        (directory / "pairs").mkdir(parents=True, exist_ok=True)
        sweep(directory)
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
                f"{self.what} in {self.directory} were made differently: {'; '.join(lines)}; "
                "use the same settings, or delete the folder and make them again"
            )

    def check_complete(self) -> None:
        """``ValueError`` if the run that fills this store did not end."""
        if not self.manifest["complete"]:
            raise ValueError(
                f"{self.what} in {self.directory} are not finished; the same {self.command} "
                "command goes on where it stopped"
            )

    def path(self, person_id: str, garment_id: str) -> Path:
        return self.directory / "pairs" / f"{pair_key(person_id, garment_id)}.npz"

    def save(self, person_id: str, garment_id: str, arrays: dict, files: Files = NOTHING) -> None:
        """Store one pair's arrays with names and hashes of the files they were made from."""
        found = {name: text for name, text in sorted(hashes_of(files).items()) if text}
        notes = np.array([*found.values()], dtype="S32"), np.array([*found], dtype="S")
        arrays = {**arrays, **dict(zip(NOTES, notes, strict=True))}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, checksum=np.frombuffer(_checksum(arrays), dtype=np.uint8))
        write_atomic(self.path(person_id, garment_id), buffer.getvalue())

    def load(self, person_id: str, garment_id: str) -> dict[str, np.ndarray]:
        """A pair's arrays, found whole.

        Raises:
            FileNotFoundError: the pair is not in the store.
            ValueError: the file is damaged; names it.
        """
        path = self.path(person_id, garment_id)
        try:
            arrays = read_npz(path)
            stored = arrays.pop("checksum").tobytes()
            if any(arrays[name].dtype.kind != "S" for name in NOTES if name in arrays):
                raise ValueError("its hashes of files are no texts")
            if _checksum(arrays) != stored:
                raise ValueError("its checksum does not match")
        except FileNotFoundError:
            reason = self.manifest["failed"].get(pair_key(person_id, garment_id))
            raise FileNotFoundError(
                f"no {self.what} of person {person_id!r} and garment {garment_id!r} in "
                f"{self.directory}; "
                + (f"making them failed: {reason}" if reason else f"run {self.command} again")
            ) from None
        except (ValueError, KeyError, OSError) as error:
            raise FileError(
                f"{self.entry} file {path} is damaged ({reason_of(error)}); run the same "
                f"{self.command} command again to recompute it"
            ) from None
        return arrays

    def load_fresh(self, person_id: str, garment_id: str, files: Files = NOTHING) -> dict:
        """`load`, after the files were compared with those it was made from: hashed once per
        process, and again where size or time of one has changed meanwhile.

        Raises:
            FileNotFoundError: the pair is not in the store.
            ValueError: the entry is damaged, or a file has changed; names it.
        """
        arrays = self.load(person_id, garment_id)
        key, now = pair_key(person_id, garment_id), {n: _state(file) for n, file in files.items()}
        if files and self._verified.get(key) != now:
            self.check_files(arrays, files)
            self._verified[key] = now
        return arrays

    def unnamed(self, files: Files) -> list[str]:
        """What the hashes are of in an entry without names, as vtonlab once wrote it."""
        return sorted(name for name, path in files.items() if path is not None)

    def noted(self, arrays: Mapping[str, np.ndarray], files: Files) -> dict[str, str]:
        """Name and hash of each file that an entry was made from."""
        hashes, names = (
            [value.decode() for value in arrays[name].tolist()] if name in arrays else None
            for name in NOTES
        )
        names = self.unnamed(files) if names is None else names
        if len(names) != len(hashes):
            raise ValueError(
                f"{self.what} in {self.directory} were made from {len(hashes)} files a pair, and "
                f"there are {len(names)} now ({', '.join(names)}); run {self.command} again"
            )
        return dict(zip(names, hashes, strict=True))

    def check_files(self, arrays: Mapping[str, np.ndarray], files: Files) -> None:
        """``ValueError`` that names the first of ``files`` that has changed, came or went since.

        An entry that noted no names tells nothing of files that it did not note.
        """
        noted, all_noted = self.noted(arrays, files), NOTES[1] in arrays
        for name, now in hashes_of(files).items():
            before = noted.get(name)
            if now == before or (before is None and not all_noted):
                continue
            if before is None:
                told = f"{files[name]} was not there when the {self.what} were made from its pair"
            elif now is None:
                told = f"{self.what} were made from a file of {name!r}, which is not there now"
                told += "" if files[name] is None else f" ({files[name]})"
            else:
                told = (
                    f"{files[name]} has changed since its {self.what} were made (hash {now[:8]}, "
                    f"was {before[:8]})"
                )
            raise ValueError(f"{told}; run {self.command} again")

    def state(self, person_id: str, garment_id: str, files: Files) -> str:
        """``"current"``, ``"missing"``, or why this pair must be computed again.

        Args:
            files: all that it is computed from.
        """
        if not self.path(person_id, garment_id).is_file():
            return "missing"
        try:
            arrays = self.load(person_id, garment_id)
            noted = self.noted(arrays, files)
            self.check_files(arrays, {**dict.fromkeys(noted), **files})
        except ValueError as error:
            return str(error).split("; run ")[0]
        for name, path in files.items():
            if path is not None and name not in noted:
                return (
                    f"{self.entry} of {person_id} was made by an older vtonlab, which noted no "
                    f"{path}"
                )
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
                f"{len(missing)} of {len(pairs)} pairs have no {self.what} in {self.directory}, "
                f"first {missing[0]} ({reason}); run {self.command} again"
            )

    def line(self, arrays: Mapping[str, np.ndarray]) -> dict:
        """What the manifest says of a pair."""
        return {"images": [value.decode() for value in arrays["images"].tolist()]}

    def finish(self, pairs: Sequence[tuple[str, str]], failed: Mapping[str, str]) -> None:
        """Close the store: list every pair with the hashes of its files, and what failed.

        Pairs of other data sets that share the store stay listed as long as their files are there.
        """
        keys = {pair_key(*pair) for pair in pairs}
        folder = self.directory / "pairs"
        listed = {
            key: line
            for key, line in self.manifest["pairs"].items()
            if key not in keys and (folder / f"{key}.npz").is_file()
        }
        others = {key: why for key, why in self.manifest["failed"].items() if key not in keys}
        failed = others | dict(failed)
        for person_id, garment_id in pairs:
            key = pair_key(person_id, garment_id)
            if key in failed:
                continue
            listed[key] = self.line(self.load(person_id, garment_id))
        sweep(self.directory)
        self.manifest.update(complete=True, pairs=listed, failed=dict(sorted(failed.items())))
        write_atomic(self.directory / "manifest.json", _json_bytes(self.manifest))


def _json_bytes(data: Mapping) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()
