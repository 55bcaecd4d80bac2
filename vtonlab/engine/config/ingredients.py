"""Setting a name that a config file only computes with, such as ``size=96x72``.

The files are read once more from copies that say the new value after the old one, so that it goes
wherever the old one went.
"""

import ast
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from vtonlab.engine.config.inherit import read
from vtonlab.engine.config.safe_mode import read_safely
from vtonlab.engine.config.sources import sources

_SIZE = re.compile(r"(\d+)x(\d+)")


def as_size(value: Any, current: Any) -> Any:
    """``"96x72"`` as (96, 72), where two whole numbers stand now; everything else as it is."""
    pair = isinstance(current, (list, tuple)) and len(current) == 2
    found = _SIZE.fullmatch(value) if pair and isinstance(value, str) else None
    return (int(found[1]), int(found[2])) if found else value


def read_with(path: Path, settings: Mapping[str, Any], *, safe: bool = False) -> Config | None:
    """A config file read with other values of its top-level names; None where no file says one.

    Args:
        settings: name, or dotted path into it (``people.framing``), -> value.
        safe: the copies too are worked out, not run: another value may take another branch.

    Raises:
        ValueError: a file does not work with the value.
    """
    files = [(file.absolute(), text, tree) for file, text, tree in sources(path)]
    root = Path(os.path.commonpath([file.parent for file, _, _ in files]))
    said: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="vtonlab-config-") as folder:
        for file, text, tree in files:
            copy = Path(folder) / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(_extended(text, tree, settings, said), encoding="utf-8")
        if said != set(settings):
            return None
        try:
            copy = Path(folder) / path.absolute().relative_to(root)
            config = read_safely(copy) if safe else read(copy, import_custom_modules=False)
        except Exception as error:
            given = ", ".join(f"{name}={value!r}" for name, value in settings.items())
            raise ValueError(f"config {path} cannot be read with {given}: {error}") from error
    object.__setattr__(config, "_filename", str(path))
    return config


def _extended(text: str, tree: ast.Module, settings: Mapping[str, Any], said: set[str]) -> str:
    """A file's text with each setting after the last line that gives its name a value."""
    lines = text.splitlines()
    places: list[tuple[int, str]] = []
    for path, value in settings.items():
        name, *parts = path.split(".")
        ends = [node.end_lineno for node in tree.body if name in _assigned(node)]
        if ends:
            keys = "".join(f"[{int(part) if part.isdigit() else part!r}]" for part in parts)
            places.append((max(ends), f"{name}{keys} = {value!r}"))
            said.add(path)
    for line, statement in sorted(places, reverse=True):
        lines.insert(line, statement)
    return "\n".join(lines) + "\n"


def _assigned(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}
