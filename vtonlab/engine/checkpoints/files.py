"""Checkpoint files: written in one atomic act, verified by hash, read without running code.

A checkpoint ``iter_100.pth`` has a manifest ``iter_100.pth.json`` beside it with its size and
SHA-256; without a matching manifest it is not resumed from (reliability.md 3.2 to 3.4).
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader

from vtonlab.engine.checkpoints.exported import is_export, read_export
from vtonlab.utils.bounded import (
    FileError,
    PickledClassesError,
    parse_json,
    read_json_lines,
    read_tensors,
    read_torch,
    tensor_metadata,
)
from vtonlab.utils.writing import WriteError, saying
from vtonlab.version import __version__

_OF_SAFETENSORS = ".tmp" + "[0-9A-Za-z]" * 6  # what it writes to before it renames
_CONVERT = "tools/convert/pickle_checkpoint.py --i-trust-this-file"


def manifest_path(path: str | Path) -> Path:
    """Where the manifest of a checkpoint lies."""
    return Path(f"{path}.json")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, streamed."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if _HAS_DIGEST else _digest(file)


_HAS_DIGEST = hasattr(hashlib, "file_digest")  # Python 3.11


def _digest(file) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def save_file(
    path: str | Path, write: Callable[[Path], None], *, about: dict | None = None, bytes_needed=0
) -> dict:
    """Write a file atomically, with its manifest.

    ``write`` fills a temporary file in the same folder; it is synced, hashed, described by the
    manifest and only then renamed. Whatever happens before, what was there before stays, and stays
    valid: while a file is replaced, its manifest describes the old and the new one.

    Args:
        path: the final name.
        write: called with the temporary path.
        about: plain values added to the manifest.
        bytes_needed: refuse where the disk has less free.

    Returns:
        The manifest.

    Raises:
        WriteError: bytes needed and free, or what the file system said.
    """
    path = Path(path)
    with saying(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < bytes_needed:
        raise WriteError(
            f"{path} needs {bytes_needed} bytes and the disk has {free} free: free some, or choose "
            "another folder, then run the same command again"
        )
    with saying(path):
        return _save_file(path, write, about or {})


def _save_file(path: Path, write: Callable[[Path], None], about: dict) -> dict:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        _fill(temporary, write)
        temporary.chmod(0o666 & ~_umask())  # safetensors makes files that only the owner can read
        _sync(temporary)
        size = temporary.stat().st_size
        manifest = {"file": path.name, "bytes": size, "sha256": sha256(temporary)}
        manifest |= {"torch": torch.__version__, "vtonlab": __version__}
        manifest |= {"serial": _last_serial(path.parent) + 1, **about}
        line, old = json.dumps(manifest) + "\n", _old_manifest(path)
        write_text(manifest_path(path), line + old)
        os.replace(temporary, path)
        _sync(path.parent)
        if old:
            write_text(manifest_path(path), line)
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


def _fill(temporary: Path, write: Callable[[Path], None]) -> None:
    """``write``, whose libraries say of a full disk that something of theirs failed."""
    try:
        write(temporary)
    except Exception as error:
        if isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError":
            refused = re.search(r"Permission denied|Read-only file system", str(error))
            why = refused[0] if refused else str(error).splitlines()[0]
            raise OSError(errno.EACCES if refused else errno.EIO, why) from error
        raise


def _last_serial(folder: Path) -> int:
    """Of the files that were saved in a folder, the number of the last. Clocks may go back."""
    found = [0]
    for manifest in folder.glob("*.json"):
        if manifest.with_suffix("").is_file():
            found.append(_serial(manifest.with_suffix("")))
    return max(found)


def _serial(path: Path) -> int:
    """When a file was saved, counted within its folder; 0 where its manifest does not say."""
    try:
        return max(int(manifest.get("serial", 0)) for manifest in read_manifests(path))
    except (OSError, ValueError, TypeError, AttributeError):
        return 0


def _old_manifest(path: Path) -> str:
    """The manifest of the file that is about to be replaced, or nothing."""
    if not path.is_file() or not manifest_path(path).is_file():
        return ""
    return manifest_path(path).read_text(encoding="utf-8", errors="replace").split("\n")[0] + "\n"


def read_manifests(path: str | Path) -> list[dict]:
    """What the manifest of a checkpoint describes: one file, or two where a replacement was cut.

    Raises:
        FileNotFoundError: there is no manifest.
        ValueError: it is not JSON.
    """
    return [manifest for _, manifest in read_json_lines(manifest_path(path), damaged="none")]


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with saying(path):
        try:
            temporary.write_text(text, encoding="utf-8")
            _sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_checkpoint_file(checkpoint: dict, path: str | Path) -> dict:
    """``torch.save`` a dictionary of tensors and plain values atomically; returns the manifest."""
    iteration = checkpoint.get("meta", {}).get("iter", -1)
    size = sum(t.numel() * t.element_size() for t in _tensors(checkpoint))
    return save_file(
        path,
        lambda temporary: torch.save(checkpoint, temporary),
        about={"iter": iteration},
        bytes_needed=size,
    )


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def remove_checkpoint(path: str | Path) -> None:
    """Delete a checkpoint, then its manifest."""
    Path(path).unlink(missing_ok=True)
    manifest_path(path).unlink(missing_ok=True)


def sweep(folder: str | Path) -> None:
    """Delete what killed processes left half-done; call it under the folder's lock."""
    for pattern in (".*.tmp-*", _OF_SAFETENSORS):
        for leftover in Path(folder).glob(pattern):
            leftover.unlink(missing_ok=True)
    for manifest in Path(folder).glob("*.pth.json"):
        if not manifest.with_suffix("").exists():
            manifest.unlink(missing_ok=True)


def find_problem(path: str | Path) -> str | None:
    """Why a checkpoint cannot be trusted to be what was saved, or None if it is."""
    path = Path(path)
    if not path.is_file():
        return "the file is missing"
    try:
        found = read_manifests(path)
        described = {manifest["sha256"]: manifest["bytes"] for manifest in found}
    except FileNotFoundError:
        return f"its manifest {manifest_path(path).name} is missing"
    except (ValueError, KeyError, TypeError):
        return f"its manifest {manifest_path(path).name} is unreadable"
    size = path.stat().st_size
    if size not in described.values():
        named = " or ".join(str(size) for size in described.values())
        return f"it has {size} bytes where its manifest says {named}"
    if sha256(path) not in described:
        return "its SHA-256 differs from its manifest's"
    return None


def find_latest(folder: str | Path, warn: Callable[[str], None] = print) -> Path | None:
    """The newest valid ``iter_*.pth`` or ``epoch_*.pth``; ``warn`` hears of those passed over.

    Newest by the order of saving, which manifests count, so that a run begun anew in a used folder
    resumes its own whatever the clock did; files of older versions by their time.
    """
    found = [p for p in Path(folder).glob("*.pth") if re.fullmatch(r"(iter|epoch)_\d+", p.stem)]
    by_age = sorted(
        found, key=lambda p: (_serial(p), p.stat().st_mtime_ns, int(p.stem.split("_")[1]))
    )
    for path in reversed(by_age):
        problem = find_problem(path)
        if problem is None:
            return path
        warn(f"checkpoint {path} passed over: {problem}")
    return None


def read_checkpoint(path: str | Path, map_location: Any = "cpu", *, lazy: bool = False) -> dict:
    """Read ``.pth`` (tensors and plain values only), ``.safetensors`` or a folder that
    tools/export.py wrote; never runs code.

    Args:
        path, map_location: as ``torch.load``.
        lazy: leave the tensors of a ``.pth`` in the file until they are read, so that processes of
            one machine share the memory; on the CPU.

    Returns:
        The checkpoint; a safetensors file becomes ``{"state_dict": ..., "meta": ...}``.

    Raises:
        FileNotFoundError: no such file.
        FileError: damaged, or holding pickled classes.
    """
    path = Path(path).expanduser()
    if is_export(path):
        return read_export(path, map_location or "cpu")
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if manifest_path(path).is_file():
        problem = find_problem(path)
        if problem:
            raise FileError(f"checkpoint {path} is damaged: {problem}; use an older one")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, map_location)
    try:
        checkpoint = read_torch(path, map_location, lazy=lazy)
    except PickledClassesError as error:
        raise FileError(
            f"checkpoint {path} {error.reason.removeprefix('it ')} and is not loaded; if you trust "
            f"it, convert it with {_CONVERT}"
        ) from None
    except FileError as error:
        raise FileError(f"checkpoint {path} is damaged or no checkpoint: {error.reason}") from None
    if not isinstance(checkpoint, dict):
        raise FileError(f"checkpoint {path} holds a {type(checkpoint).__name__}, not a dictionary")
    return checkpoint


def is_checkpoint(path: str | Path) -> bool:
    """Whether `read_checkpoint` finds something at ``path``."""
    return Path(path).is_file() or is_export(path)


def read_meta(path: str | Path) -> dict:
    """What a ``.safetensors`` file says about its weights, without reading them.

    Raises:
        FileNotFoundError: no such file.
        FileError: damaged.
    """
    try:
        return parse_json(tensor_metadata(path).get("vtonlab", "{}"), path)
    except FileError as error:
        raise FileError(f"checkpoint {path} is damaged: {error.reason}") from None


def _read_safetensors(path: Path, map_location: Any) -> dict:
    meta = read_meta(path)
    try:
        return {"state_dict": read_tensors(path, device=map_location or "cpu"), "meta": meta}
    except FileError as error:
        raise FileError(f"checkpoint {path} is damaged: {error.reason}") from None


def save_safetensors(state: dict[str, torch.Tensor], path: str | Path, meta: dict) -> dict:
    """Write weights as safetensors, atomically; tensors that share memory are written twice."""
    from safetensors.torch import save_file as write_safetensors

    seen: set[int] = set()
    tensors = {}
    for name, value in state.items():
        tensor = value.detach().cpu().contiguous()
        address = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    text = {"format": "pt", "vtonlab": json.dumps(meta)}
    return save_file(path, lambda temporary: write_safetensors(tensors, str(temporary), text))


def plain(value: Any) -> Any:
    """Copy of nested lists and dictionaries of exact plain types; anything else becomes a string.

    Exact, because ``np.float64`` is a subclass of float and would be pickled as a class.
    """
    if type(value) in (int, float, str, bool, type(None)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value)


def _load_for_mmengine(filename: str, map_location: Any = None) -> dict:
    return read_checkpoint(filename, map_location or "cpu")


def _refuse_remote(filename: str, map_location: Any = None) -> dict:
    raise ValueError(f"checkpoint {filename} is not a local file: download it and give its path")


# mmengine's own loaders (Pretrained initialisers, load_from) go through ours.
for _scheme in CheckpointLoader._schemes:
    CheckpointLoader.register_scheme(prefixes=_scheme, loader=_refuse_remote, force=True)
CheckpointLoader.register_scheme(prefixes="", loader=_load_for_mmengine, force=True)
