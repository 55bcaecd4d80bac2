"""``--safe``: read somebody else's config without letting it run code (reliability.md R29).

An allow-list by construction. The file is worked out, not run (`evaluate`): no environment, no
imports, bounded work. Its values are plain; paths lead inside the folder where vtonlab runs, and
what is written goes below ``work_dirs``. From then on this process resolves registered names only
(`registered`). What the command line says is the user's own word and is not held to the rules of
paths.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mmengine.config import Config

from vtonlab.engine.config import registered
from vtonlab.engine.config.evaluate import FILE_BYTES, Budget, Refused, evaluate_file
from vtonlab.utils.bounded import FileError, read_json

_SCALARS = (str, int, float, bool, type(None))
_REFUSED_KEYS = {
    "custom_imports": "it would import code that is not ours",
    "_scope_": "names are looked up in vtonlab and mmengine only",
    "_base_": "write `with read_base(): from .base import *`",
    "trust_remote_code": "it would run code from the Hub",
    "init_backend": "it would import another launcher",
    **dict.fromkeys(["backend_args", "file_client_args"], "files are local"),
    **dict.fromkeys(
        ["out_dir", "save_dir", "out_file_path", "config_save_file", "log_dir", "result_path"],
        "a run writes into its work directory; give it with --work-dir",
    ),
}
_ADVICE = (
    "read it with `tools/print_config.py --static`, and drop --safe if you trust it (or say it on "
    "the command line)"
)


def read_safely(path: Path, *, inside: bool = True) -> Config:
    """A config by a stranger as plain values; closes the registries of this process.

    Args:
        path: a ``.py`` or ``.json`` file.
        inside: also refuse paths that leave this folder, and writes elsewhere than ``work_dirs/``;
            False for a model that is only built, whose config tells where it was trained.
            Addresses are refused in any case.

    Raises:
        FileNotFoundError: no such file.
        ValueError: names file, line or key and what is not allowed.
    """
    registered.close()
    try:
        if path.suffix == ".json":
            values = _read_json(path)
        elif path.suffix == ".py":
            values = evaluate_file(path, Budget())
        else:
            raise ValueError(f"--safe reads .py and .json configs, not {path}")
        check_types(values)
        _check_paths(values, "", inside)
    except Refused as error:
        raise ValueError(f"--safe refuses {error}; {_ADVICE}") from None
    try:
        return Config(values, filename=str(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"--safe refuses {path}: {error}") from None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no config at {path}")
    try:
        found = read_json(path, FILE_BYTES)
        Budget().weigh(found)
    except FileError as error:
        raise Refused(f"{path}: it is not JSON ({error.reason})") from None
    except Refused as error:
        raise Refused(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise Refused(f"{path}: a JSON config is one object")
    return found


def check_types(config: Mapping[str, Any]) -> None:
    """Refuse, in a config that was read, every type that is not the plain name of a class.

    Whether the name is registered is `vtonlab.engine.config.check.check_config`'s to say.

    Raises:
        ValueError: names the key.
    """
    if config.get("default_scope", "vtonlab") != "vtonlab":
        raise ValueError(f"--safe refuses default_scope={config['default_scope']!r}")
    _check_types(config, "")


def _check_types(node: Any, path: str) -> None:
    if isinstance(node, (list, tuple, set)):
        for number, item in enumerate(node):
            _check_types(item, f"{path}.{number}")
    elif isinstance(node, Mapping):
        for key, value in node.items():
            here = f"{path}.{key}".lstrip(".")
            if key in _REFUSED_KEYS and (path or value):
                raise ValueError(f"--safe refuses {here!r}: {_REFUSED_KEYS[key]}")
            names_class = str(key) in ("type", "constructor") or str(key).endswith("_type")
            if names_class and value is not None and not _plain(value):
                raise ValueError(
                    f"--safe refuses {here}={value!r}: only the plain name of a registered class"
                )
            _check_types(value, here)
    elif not isinstance(node, (*_SCALARS, range)):
        raise ValueError(f"--safe refuses {path}={node!r}: it is no plain value")


def _plain(value: Any) -> bool:
    return isinstance(value, str) and (value.isidentifier() or ("-" in value and "." not in value))


def _check_paths(node: Any, path: str, inside: bool) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            here = f"{path}.{key}".lstrip(".")
            _check_paths(key, f"a key of {path}", inside)
            written = inside and key in ("work_dir", "cache_dir") and value is not None
            if written and PurePosixPath(str(value)).parts[:1] != ("work_dirs",):
                raise ValueError(
                    f"--safe refuses {here}={value!r}: what is written goes below work_dirs/; say "
                    "another folder on the command line"
                )
            _check_paths(value, here, inside)
    elif isinstance(node, (list, tuple, set)):
        for number, item in enumerate(node):
            _check_paths(item, f"{path}.{number}", inside)
    elif isinstance(node, str) and (_leaves(node) if inside else _is_address(node)):
        raise ValueError(
            f"--safe refuses {path}={node[:80]!r}: an address, a template or a path that leaves "
            f"this folder; say it with --cfg-options {path}=... if you mean it"
        )


def _is_address(text: str) -> bool:
    return bool(
        "\0" in text
        or "{{" in text  # mmengine substitutes it where the saved config is read again
        or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)
    )


def _leaves(text: str) -> bool:
    windows = PureWindowsPath(text)
    return bool(
        _is_address(text)
        or text.startswith(("/", "~", "\\"))
        or windows.drive
        or ".." in windows.parts
    )
