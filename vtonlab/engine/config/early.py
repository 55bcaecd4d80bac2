"""What can be said of a command line before torch is imported, which takes ten times as long.

A config that is only values is worked out (`evaluate`), and the classes that it names are read, not
imported (`static_classes`). Where either is not possible nothing is said here: the full check
(`vtonlab.engine.config.check`) follows, knows more, and has the last word.
"""

import difflib
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from vtonlab.engine.config.evaluate import Budget, Refused, evaluate_file
from vtonlab.engine.config.names import find_config
from vtonlab.engine.config.sentences import unknown_key
from vtonlab.engine.config.sources import used_names
from vtonlab.engine.config.static_classes import arguments_of
from vtonlab.engine.config.top_level import TOP_LEVEL
from vtonlab.engine.config.tree import child, dictionaries, has, names
from vtonlab.utils.plugins import GROUP

# What mmengine reads beside a type, in one place or another of a config.
_BESIDE_A_TYPE = frozenset(
    "type _scope_ _delete_ priority constructor paramwise_cfg optimizer adapters modules by_epoch "
    "convert_to_iter_based".split()
)
_OPEN = ("EMAHook",)  # hooks whose other keys are an argument's


def check_early(
    config: str | Path | None,
    options: Mapping[str, Any] | None = None,
    *,
    checkpoints: Sequence[str | Path | None] = (),
    whole: bool = True,
) -> None:
    """Refuse what can be seen to be wrong: paths that are not there, keys that nothing takes.

    Args:
        config: path or name; None is not looked at.
        options: of ``--cfg-options``.
        checkpoints: paths that must be files; None is not looked at.
        whole: also look at the keys of the config itself.

    Raises:
        FileNotFoundError: no such config or checkpoint; names what is near.
        ValueError: an unknown key; names the nearest valid one.
    """
    path = find_config(config) if config is not None else None
    for file in checkpoints:
        if file is not None and not Path(file).is_file():
            raise FileNotFoundError(f"no checkpoint at {file}: {_near_file(Path(file))}")
    values = _values(path)
    if values is None:
        return
    top = _top_names(values)
    ingredients = set() if top is None else used_names(path) - top
    for option in options or {}:
        if option.split(".")[0] not in ingredients:
            _check_option(option, values, top)
    if not whole:
        return
    if top is not None:
        for name in values:
            if name not in top and name not in ingredients and not name.startswith("_"):
                raise ValueError(unknown_key((name,), top, "the config"))
    for place, node in dictionaries(values):
        if place[0] != "released":  # a table of paths
            _check_node(place, node)


def _near_file(path: Path) -> str:
    """What lies beside a path under nearly its name."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    beside = [file.name for file in path.parent.iterdir() if file.is_file()]
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.6)
    return f"did you mean {path.parent / near[0]}?" if near else "train one with tools/train.py"


def _values(path: Path | None) -> dict[str, Any] | None:
    """A config's top-level names; None where it is more than values."""
    if path is None or path.suffix != ".py":
        return None
    try:
        return evaluate_file(path, Budget())
    except (Refused, OSError):
        return None


def _top_names(values: Mapping[str, Any]) -> frozenset[str] | None:
    """Keys that may stand at the top; None where a plugin may have added some."""
    runner = arguments_of("Runner")
    if runner is None or values.get("custom_imports") or entry_points(group=GROUP):
        return None
    return (runner - {"cfg"}) | {*TOP_LEVEL, "log_level"}


def _check_option(option: str, values: Mapping[str, Any], top: frozenset[str] | None) -> None:
    node: Any = values
    *parents, last = option.split(".")
    path: tuple[str, ...] = ()
    for part in parents:
        if not has(node, part):
            if path or top is not None:
                raise ValueError(unknown_key((*path, part), names(node), "--cfg-options"))
            return
        node = child(node, part)
        path = (*path, part)
    if has(node, last):
        return
    valid = _valid_at(path, node) if path else top
    if valid is not None and last not in valid:
        known = [*names(node), *valid] if path else valid
        raise ValueError(unknown_key((*path, last), known, "--cfg-options"))


def _valid_at(path: tuple[str, ...], node: Any) -> frozenset[str] | None:
    """Keys that a dictionary takes; None where that is not known here."""
    if not isinstance(node, Mapping):
        return None
    if path[-1].endswith("_dataloader") and len(path) == 1:
        loader = arguments_of("DataLoader")
        extra = {"num_batch_per_epoch", "disable_subprocess_warning"}
        return None if loader is None else loader | extra
    wanted = node.get("type")
    if path[0] == "model" and "type" not in node:
        return frozenset(map(str, node))  # an argument: only what stands there can be set
    if not isinstance(wanted, str) or wanted in _OPEN:
        return None
    known = arguments_of(wanted)
    return None if known is None else known | _BESIDE_A_TYPE


def _check_node(path: tuple[str, ...], node: Mapping[str, Any]) -> None:
    valid = _valid_at(path, node)
    for key in node if valid is not None else ():
        if key not in valid:
            raise ValueError(unknown_key((*path, str(key)), valid, "the config"))
