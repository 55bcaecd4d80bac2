"""An error of a constructor, told as one sentence that names the key of the config."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from mmengine.config import Config
from torch.nn.modules.module import register_module_module_registration_hook

from vtonlab.engine.config.tree import dictionaries

MOST_MODULES = 30_000  # FLUX.1 with LoRA has 5 000
_BUILDERS = {"build_from_cfg": "cfg", "build_dataloader": "dataloader"}  # of mmengine
_SHOWN = 60  # characters of a value


class TooLargeError(ValueError):
    """A network of absurdly many layers."""


@contextmanager
def naming_keys(config: Mapping[str, Any]) -> Iterator[None]:
    """What goes wrong while a part of ``config`` is built becomes a ``ValueError`` with its key.

    Errors outside of building pass through. Networks of more than `MOST_MODULES` modules are
    refused while they grow, before they fill the memory.
    """
    count = 0

    def counted(*_) -> None:
        nonlocal count
        count += 1
        if count > MOST_MODULES:
            raise TooLargeError(f"the network has more than {MOST_MODULES} modules")

    handle = register_module_module_registration_hook(counted)
    try:
        yield
    except (OSError, FloatingPointError, ImportError, torch.OutOfMemoryError):
        raise  # sentences of their own
    except Exception as error:
        part = _part_of(error, config)
        if part is None:
            raise
        raise ValueError(_told(error, *part)) from error
    finally:
        handle.remove()


def _part_of(error: Exception, config: Mapping) -> tuple[str, Mapping] | None:
    """Path and settings of the innermost part that was being built."""
    built: list[Mapping] = []
    trace = error.__traceback__
    while trace is not None:
        frame: FrameType = trace.tb_frame
        local = _BUILDERS.get(frame.f_code.co_name)
        if local is not None and isinstance(frame.f_locals.get(local), Mapping):
            built.append(frame.f_locals[local])
        trace = trace.tb_next
    for settings in reversed(built):
        found = _place_of(settings, config)
        if found is not None:
            return found
    return None


def part_that_failed(error: Exception, config: Mapping) -> str:
    """Path of the part of ``config.model`` in whose code an error was raised, and what is set."""
    found, node = "model", config["model"]
    trace = error.__traceback__
    places = list(_parts(config["model"], "model"))
    while trace is not None:
        owner = type(trace.tb_frame.f_locals.get("self")).__name__
        for path, part in places:
            if part.get("type", part.get("cls")) == owner:
                found, node = path, part
        trace = trace.tb_next
    key = _key_in(" ".join(str(error).split()), node)
    return f"{found}.{key}={_short(node[key])}" if key else f"{found} ({_settings(node)})"


def _place_of(settings: Mapping, config: Mapping) -> tuple[str, Mapping] | None:
    """Where a config holds ``settings``: builders pass copies on, with a key more or less."""
    best: tuple[int, str, Mapping] | None = None
    for path, node in _parts(config, ""):
        if node.get("type") != settings.get("type") and "type" in node:
            continue
        same = sum(_equal(value, settings.get(key, _MISSING)) for key, value in node.items())
        if same and (best is None or same > best[0]):
            best = same, path, node
    return best and best[1:]


_MISSING = object()


def _equal(a: Any, b: Any) -> bool:
    try:
        return a is b or bool(a == b)
    except (ValueError, RuntimeError):
        return False


def _parts(node: Any, path: str) -> Iterator[tuple[str, Mapping]]:
    """Every dictionary inside a config, with its path below ``path``; the outermost where that says
    one.
    """
    node = node._cfg_dict if isinstance(node, Config) else node
    for place, found in dictionaries(node, tuple(path.split(".")) if path else ()):
        yield ".".join(place), found


def _told(error: Exception, path: str, node: Mapping) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if path in text:
        return text
    if not isinstance(error, ValueError):
        text = f"{type(error).__name__}: {text}"
    key = _key_in(text, node)
    if key is not None:
        return f"{path}.{key}={_short(node[key])}: {text}"
    return f"{path} ({_settings(node)}): {text}"


def _settings(node: Mapping) -> str:
    values = [
        f"{key}=dict(...)" if isinstance(value, Mapping) else f"{key}={_short(value)}"
        for key, value in node.items()
        if key != "type"
    ]
    return f"{node.get('type', 'no type')} of {', '.join(values) or 'nothing'}"


def _key_in(text: str, node: Mapping) -> str | None:
    """The one key whose name, or else whose value, an error speaks of."""
    keys = [key for key in node if key != "type"]
    named = [key for key in keys if re.search(rf"\b{re.escape(key)}\b", text)]
    if not named:
        named = [k for k in keys if not isinstance(node[k], Mapping) and _mentions(text, node[k])]
    return named[0] if len(named) == 1 else None


def _mentions(text: str, value: Any) -> bool:
    if value is None or isinstance(value, bool) or len(str(value)) < 3:
        return False  # short ones stand in any sentence
    return re.search(rf"(?<![\w.]){re.escape(str(value))}(?![\w.]*\w)", text) is not None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 4] + " ..."
