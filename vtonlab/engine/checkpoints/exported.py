"""Folders that tools/export.py wrote, read as checkpoints: every file that is read is hashed first.

``SHA256SUMS`` is what ``sha256sum -c`` takes; ``vtonlab_export.json`` says which folder holds which
part of the model. Weights lie as diffusers keeps them, so names are put together again here. Torch
is not imported before weights are read.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from vtonlab.utils.bounded import FileError, check_form, naming, read_json, read_tensors

FORMAT = 1
SUMS, ABOUT, CONFIG, CARD = "SHA256SUMS", "vtonlab_export.json", "config.py", "README.md"
REST = "vtonlab.safetensors"  # of what diffusers has no place for
UNSIGNED = (SUMS, CARD, ".gitattributes")  # the card is edited on the hub, which adds the last
ADAPTER = "transformer."  # before a LoRA's names, as diffusers' pipelines have it
FORM = {
    "format!": int,
    "vtonlab!": str,
    "meta!": {"facts!": dict},
    "parts!": {...: {"folder!": str, "class!": str, "state!": bool, "left_out!": [str]}},
    "loras!": {...: str},
    "rest!": (None, str),
    "config!": {...: (None, str)},
}
_LINE = re.compile(r"([0-9a-f]{64})  (\S[^\n]*)")


def is_export(path: str | Path) -> bool:
    """Whether ``path`` is a folder that tools/export.py wrote."""
    return (Path(path) / ABOUT).is_file()


def read_about(folder: str | Path) -> dict[str, Any]:
    """What ``vtonlab_export.json`` says, its own sum checked.

    Raises:
        FileError: damaged, of a later version, or a name in it leaves the folder.
    """
    path = Path(folder) / ABOUT
    verify(folder, [ABOUT])
    about = read_json(path)
    with naming(path):
        check_form(about, FORM)
        if about["format"] > FORMAT:
            raise ValueError(
                f"it is of format {about['format']}, this vtonlab reads up to {FORMAT}: upgrade"
            )
        for part in about["parts"].values():
            _check_name(part["folder"])
        for name in (*about["loras"].values(), about["rest"] or REST):
            _check_name(name)
    return about


def read_export(folder: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The folder as a checkpoint, ``{"state_dict": ..., "meta": ...}``, every file verified.

    Raises:
        FileNotFoundError: a file of ``SHA256SUMS`` is missing.
        FileError: a file is not what ``SHA256SUMS`` says.
    """
    folder = Path(folder)
    verify(folder)
    about, state = read_about(folder), {}
    for name, part in about["parts"].items():
        if not part["state"]:  # its config reads it
            continue
        for path in sorted((folder / part["folder"]).glob("*.safetensors")):
            found = read_tensors(path, device=map_location)
            for key, value in found.items():
                if key not in part["left_out"]:
                    state[f"{name}.{key}"] = value
    for adapter, file in about["loras"].items():
        found = read_tensors(folder / file, device=map_location)
        state |= {own_name(key, adapter): value for key, value in found.items()}
    if about["rest"]:
        state |= read_tensors(folder / about["rest"], device=map_location)
    return {"state_dict": state, "meta": about["meta"]}


def export_options(folder: str | Path) -> dict[str, Any]:
    """``--cfg-options`` under which the folder's config is built from the folder, wherever it lies:
    frozen parts are read from it, not from where training had them.
    """
    folder = Path(folder)
    return {
        key: value if value is None else str(folder / _check_name(value))
        for key, value in read_about(folder)["config"].items()
    }


def digest(checkpoint: str | Path) -> str:
    """SHA-256 that tells a checkpoint from others: of the file, or of a folder's ``SHA256SUMS``."""
    path = Path(checkpoint)
    return _sha256(path / SUMS if is_export(path) else path)


def verify(folder: str | Path, names: list[str] | None = None) -> None:
    """Hold files against ``SHA256SUMS``; None holds all.

    Raises:
        FileNotFoundError: one is missing.
        FileError: one differs, or the list does not say it.
    """
    folder = Path(folder)
    sums = read_sums(folder)
    for name in names or [*sums, *_unlisted_weights(folder, sums)]:
        path = folder / name
        if name not in sums:
            raise FileError(f"{path} does not stand in {SUMS}: export the folder again")
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} lacks {name}, which {SUMS} names: copy the whole folder again"
            )
        if _sha256(path) != sums[name]:
            raise FileError(
                f"{path} is not the file that {SUMS} names (its SHA-256 differs): copy the folder "
                "again, or export it again"
            )


def read_sums(folder: str | Path) -> dict[str, str]:
    """Name -> SHA-256 of a folder's ``SHA256SUMS``.

    Raises:
        FileNotFoundError: there is none.
        FileError: a line that is none, or a name that leaves the folder.
    """
    path = Path(folder) / SUMS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} lacks {SUMS}: copy the whole folder again")
    with naming(path):
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [_LINE.fullmatch(line) for line in lines]
        if not all(found):
            raise ValueError("it holds a line that is no sum")
        return {_check_name(match[2]): match[1] for match in found}


def write_sums(folder: str | Path) -> Path:
    """Write ``SHA256SUMS`` of every file in ``folder``, but for those that others edit."""
    folder = Path(folder)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    rows = [f"{_sha256(folder / name)}  {name}\n" for name in names if name not in UNSIGNED]
    (folder / SUMS).write_text("".join(rows), encoding="utf-8")
    return folder / SUMS


def _unlisted_weights(folder: Path, sums: Mapping[str, str]) -> list[str]:
    """Weights beside those of the list, which a reader of a folder would take too."""
    found = (p.relative_to(folder).as_posix() for p in folder.glob("*/*.safetensors"))
    return sorted(name for name in found if name not in sums)


def own_name(key: str, adapter: str = "default") -> str:
    """Of a LoRA's tensor, in the model, from its name in diffusers' file."""
    for half in ("lora_A", "lora_B"):
        key = key.replace(f".{half}.weight", f".{half}.{adapter}.weight")
    return "backbone." + key.removeprefix(ADAPTER)


def _check_name(name: str) -> str:
    """``name``, of something within the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
        raise ValueError(f"{name!r} leaves the folder")
    return name


def _sha256(path: Path) -> str:
    facts = path.stat()
    return _hashed(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)  # a folder is verified before it is built from, and when it is read
def _hashed(path: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
