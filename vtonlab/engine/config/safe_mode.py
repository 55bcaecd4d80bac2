"""``--safe``: read somebody else's config without letting it run code (reliability.md R29).

A guard rail, not a sandbox. A config file may hold values, ``dict(...)``, simple arithmetic and
relative ``read_base`` imports of files that obey the same rules; every ``type`` must be the plain
name of a registered class. Whatever a registered class does with its arguments, it still does.
"""

import ast
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import read_base

from vtonlab.engine.config.sources import sources

_FUNCTIONS = frozenset(
    "dict list tuple set range len min max sum sorted zip enumerate round abs int float str bool "
    "read_base".split()
)
_METHODS = frozenset("update append extend insert pop copy get items keys values".split())
_NODES = (
    *(ast.Module, ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete, ast.Pass),
    *(ast.If, ast.For, ast.With, ast.withitem, ast.ImportFrom, ast.alias),
    *(ast.Call, ast.keyword, ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Starred),
    *(ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.Set, ast.JoinedStr, ast.FormattedValue),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp),
    *(ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.comprehension),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)
_PRIVATE = ("_base_", "_scope_", "_import_")


def check_file(path: str | Path) -> None:
    """Refuse a config file that does more than describe values; nothing is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: names file, line and what is not allowed.
    """
    path = Path(path)
    if path.suffix == ".json":
        _check_json(path)
        return
    if path.suffix != ".py":
        raise ValueError(f"--safe reads .py and .json configs, not {path}")
    for file, text, tree in sources(path, missing_is_error=True):
        if "{{" in text:
            raise ValueError(f"--safe refuses {file}: mmengine would substitute its '{{{{...}}}}'")
        for node in ast.walk(tree):
            problem = _problem(node)
            if problem:
                line = getattr(node, "lineno", 0)
                raise ValueError(
                    f"--safe refuses {file}, line {line}: {problem}; read it with "
                    f"`tools/print_config.py --static`, and drop --safe if you trust it"
                )


def _check_json(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no config at {path}")
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or "_base_" in found:
        raise ValueError(f"--safe refuses {path}: a JSON config is one object without '_base_'")
    check_types(found)


def _problem(node: ast.AST) -> str | None:
    if not isinstance(node, _NODES):
        return f"{type(node).__name__} is more than a config needs"
    if isinstance(node, ast.ImportFrom):
        return _import_problem(node)
    if isinstance(node, ast.Call):
        return _call_problem(node.func)
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        return f"private attribute {node.attr!r}"
    if isinstance(node, ast.Name) and (node.id.startswith("__") or node.id in _PRIVATE):
        return f"private name {node.id!r}"
    return None


def _import_problem(node: ast.ImportFrom) -> str | None:
    if node.level and node.module:
        return None
    if (node.module or "").startswith("vtonlab.configs."):
        return None
    if node.module == "mmengine.config" and [name.name for name in node.names] == ["read_base"]:
        return None
    return f"it imports from {node.module or '.'}"


def _call_problem(function: ast.expr) -> str | None:
    if isinstance(function, ast.Name) and function.id in _FUNCTIONS:
        return None
    if isinstance(function, ast.Attribute) and function.attr in _METHODS:
        return None
    return f"it calls {ast.unparse(function)}"


def check_types(config: Mapping[str, Any]) -> None:
    """Refuse, in a config that was read, every type that is not the plain name of a class.

    Whether the name is registered is `vtonlab.engine.config.check.check_config`'s to say.

    Raises:
        ValueError: names the key.
    """
    if config.get("custom_imports"):
        raise ValueError("--safe refuses 'custom_imports': it would import code that is not ours")
    if config.get("default_scope", "vtonlab") != "vtonlab":
        raise ValueError(f"--safe refuses default_scope={config['default_scope']!r}")
    # mmengine leaves the name read_base of a file in the config
    _check_types({k: v for k, v in config.items() if v is not read_base}, "")


def _check_types(node: Any, path: str) -> None:
    if isinstance(node, (list, tuple)):
        for number, item in enumerate(node):
            _check_types(item, f"{path}.{number}")
    elif isinstance(node, Mapping):
        for key, value in node.items():
            here = f"{path}.{key}".lstrip(".")
            if key == "_scope_":
                raise ValueError(f"--safe refuses {here!r}")
            if key in ("type", "constructor") and not _plain(value):
                raise ValueError(
                    f"--safe refuses {here}={value!r}: only the plain name of a registered class"
                )
            _check_types(value, here)
    elif callable(node) or inspect.ismodule(node):
        raise ValueError(f"--safe refuses {path}={node!r}: it is no plain value")


def _plain(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()
