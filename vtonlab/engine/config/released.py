"""``as_released``: the settings of a published program, where they differ from the paper's recipe.

A config of a system with published weights holds a table ``released``: dotted path -> value, as
``--cfg-options`` takes them. One word, ``as_released=True``, applies the whole of it. Checkpoints
that `tools/convert/` makes say so themselves (:func:`released_options`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from vtonlab.engine.checkpoints.exported import is_export, read_about
from vtonlab.engine.checkpoints.files import read_meta
from vtonlab.engine.config.check import check_options
from vtonlab.utils.bounded import read_json

KEY, TABLE = "as_released", "released"
MARK = "vtonlab.json"  # in a folder that a converter wrote


def apply_released(config: Config, options: Mapping[str, Any]) -> None:
    """Apply ``released`` where ``as_released`` is asked for, in place; applied, it is dropped.

    What the table names is replaced whole, also lists and dictionaries.

    Args:
        options: of the command line; its ``as_released`` wins over the file's.

    Raises:
        ValueError: there is no table, or it names an unknown key.
    """
    if not options.get(KEY, config.get(KEY, False)):
        return
    table = config._cfg_dict.pop(TABLE, None)
    if table is None:
        if config.get(KEY):
            return  # the config of a run, whose table was applied when it began
        raise ValueError(
            f"{config.filename}: as_released=True, but the config has no table `released`: the "
            "authors' settings are known for configs of systems with published weights; use one of "
            "those, or say as_released=False"
        )
    check_options(config, table)
    for path, value in table.items():
        *parents, last = path.split(".")
        node = config._cfg_dict
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node[part]
        node[int(last) if isinstance(node, list) else last] = value
    config.as_released = True


def released_options(
    options: Mapping[str, Any], *, checkpoint: str | Path, pretrained: str | Path | None = None
) -> dict[str, Any]:
    """``options`` with ``as_released=True`` where a converter made the weights from published ones.

    Args:
        options: of the command line; an ``as_released`` there is kept.
        checkpoint: what it says in its metadata counts.
        pretrained: a folder of base weights; the mark in it counts too. None takes that of
            ``options``.
    """
    options = dict(options)
    folder = pretrained or options.get("pretrained")
    if KEY not in options and (_marked_file(checkpoint) or (folder and _marked_folder(folder))):
        options[KEY] = True
    return options


def mark_folder(folder: str | Path) -> None:
    """Say in a folder that its weights are published ones."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / MARK).write_text(json.dumps({KEY: True}) + "\n", encoding="utf-8")


def _marked_file(checkpoint: str | Path) -> bool:
    path = Path(checkpoint)
    if is_export(path):
        return bool(read_about(path)["meta"].get(KEY))
    return path.suffix == ".safetensors" and path.is_file() and bool(read_meta(path).get(KEY))


def _marked_folder(folder: str | Path) -> bool:
    path = Path(folder) / MARK
    return path.is_file() and bool(read_json(path).get(KEY))
