"""Rendered samples on disk, shared by runs and workers; a kill leaves whole files or none."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np


class SampleCache:
    """One uncompressed npz per sample in a folder named after the settings.

    Writers make a private file and rename it into place, so readers see whole samples only and two workers that draw
    the same sample write the same bytes.
    """

    def __init__(self, root: str | Path, key: dict) -> None:
        text = json.dumps(key, sort_keys=True, default=str)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.folder = Path(root) / f"synthetic-{digest}"
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / "settings.json"
        if not note.is_file():
            _write(note, text.encode())

    def path(self, index: int) -> Path:
        return self.folder / f"{index // 1000:04d}" / f"{index:07d}.npz"

    def get(self, index: int) -> dict[str, np.ndarray] | None:
        """The arrays of one sample, or None where it was not stored or cannot be read."""
        try:
            with np.load(self.path(index), allow_pickle=False) as data:
                return {key: data[key] for key in data.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError):  # a torn file from a crashed machine: draw it again
            return None

    def put(self, index: int, arrays: dict[str, np.ndarray]) -> None:
        import io

        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        path = self.path(index)
        path.parent.mkdir(exist_ok=True)
        _write(path, buffer.getvalue())


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
