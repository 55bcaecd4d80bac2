"""Does a value of a config fit what its class declares? Types are read from annotations.

A class's own checks come later, when it is built: `vtonlab.engine.config.naming` says which key
they speak of.
"""

import collections.abc as abc
import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

_LISTS = (abc.Sequence, abc.Iterable, abc.Collection, abc.Set, list, tuple, set, frozenset)
_EMPTY = inspect.Parameter.empty
_UNION = (typing.Union, types.UnionType)


@dataclass(frozen=True)
class Within:
    """A range, both ends in it: ``Annotated[int, Within(0, 1000)]``."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        return f"from {self.low} on" if self.high == math.inf else f"{self.low} to {self.high}"


def parameters_of(target: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """What a class or function takes by keyword, annotations resolved, and whether it takes more.

    A constructor with ``**kwargs`` also takes what the next one in its method resolution order
    takes, as mmengine's schedulers and wrappers do.
    """
    if not inspect.isclass(target):
        return _keywords(target)
    found: dict[str, inspect.Parameter] = {}
    open_ended = False
    for parent in target.__mro__[:-1]:
        if "__init__" in vars(parent):
            own, open_ended = _keywords(vars(parent)["__init__"])
            found = own | found
            if not open_ended:
                break
    found.pop("self", None)
    return found, open_ended


@functools.cache  # a config is checked several times on its way
def _keywords(function: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    parameters = inspect.signature(function).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    # of a wrapped function (diffusers) the one inside knows the names of its module
    inner = inspect.unwrap(function)
    module = sys.modules.get(getattr(inner, "__module__", ""))
    return {
        p.name: p.replace(annotation=_resolved(p.annotation, module))
        for p in parameters
        if p.kind in named
    }, open_ended


def _resolved(annotation: Any, module: types.ModuleType | None) -> Any:
    """An annotation that is a text as what it means; unknown where that cannot be had."""
    if not isinstance(annotation, str):
        return annotation
    try:
        # from the source of a class that is imported already: its module ran before this does
        return eval(annotation, dict(vars(module)) if module else {})  # noqa: S307
    except Exception:  # names that only type checkers import
        return _EMPTY


def problem_of(value: Any, parameter: inspect.Parameter) -> str | None:
    """What is wanted instead of ``value``, or None where it fits."""
    annotation, default = parameter.annotation, parameter.default
    if value is default or (type(value) is type(default) and value == default):
        return None  # nobody annotates `x: int = None` with care
    if annotation is _EMPTY or annotation is Any:
        annotation = _type_of(default)
    if annotation is _EMPTY:
        return None if _finite(value) else "a finite number"
    if (value is None and default is None) or fits(value, annotation):
        return None
    return wanted(annotation)


def _type_of(default: Any) -> Any:
    """The type that a default alone tells."""
    for kind in (bool, int, float, str):
        if isinstance(default, kind):
            return float if kind is int else kind
    return _EMPTY


def fits(value: Any, annotation: Any) -> bool:
    """Whether a config's value is of an annotated type; a config for a part is a dictionary."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or isinstance(annotation, (typing.TypeVar, str)):
        return _finite(value)
    if annotation is None or annotation is type(None):
        return value is None
    if origin in _UNION:
        return any(fits(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is typing.Annotated:
        ranges = [one for one in arguments[1:] if isinstance(one, Within)]
        return fits(value, arguments[0]) and all(r.low <= value <= r.high for r in ranges)
    base = origin or annotation
    if base is bool:
        return isinstance(value, (bool, np.bool_))
    if base is int:
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if base is float:
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        return number and math.isfinite(value)
    if base is str or (inspect.isclass(base) and issubclass(base, PurePath)):
        return isinstance(value, (str, PurePath))
    if base in (dict, abc.Mapping, abc.MutableMapping):
        return isinstance(value, Mapping) and (
            len(arguments) < 2
            or all(item is None or fits(item, arguments[1]) for item in value.values())
        )
    if base in _LISTS:
        return _list_fits(value, base, arguments)
    if base is abc.Callable:
        return callable(value) or isinstance(value, (Mapping, str))
    if inspect.isclass(base):  # something that is built: an instance, its config, or its name
        if issubclass(base, torch.Tensor):
            return isinstance(value, base)
        named = issubclass(base, (torch.device, torch.dtype)) and isinstance(value, str)
        return named or isinstance(value, (base, Mapping)) or inspect.isclass(value)
    return True


def _list_fits(value: Any, base: Any, arguments: tuple) -> bool:
    if not isinstance(value, (list, tuple, set, frozenset)):
        return False
    if base is tuple and len(arguments) > 1 and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(
            fits(item, one) for item, one in zip(value, arguments, strict=True)
        )
    return not arguments or all(fits(item, arguments[0]) for item in value)


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def wanted(annotation: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if origin in _UNION:
        words = [wanted(one) for one in arguments if one is not torch.Tensor]
        return " or ".join(dict.fromkeys(words))
    if origin is typing.Literal:
        return " or ".join(repr(one) for one in arguments)
    if origin is typing.Annotated:
        return " ".join([wanted(arguments[0]), *map(str, arguments[1:])])
    base = origin or annotation
    if base in (bool, int, float, str):
        return {
            bool: "True or False",
            int: "a whole number",
            float: "a finite number",
            str: "a text",
        }[base]
    if inspect.isclass(base) and issubclass(base, PurePath):
        return "a path"
    if base in (dict, abc.Mapping, abc.MutableMapping):
        return "a dictionary"
    if base in _LISTS:
        if base is tuple and len(arguments) > 1 and arguments[-1] is not Ellipsis:
            return f"{len(arguments)} values ({', '.join(wanted(one) for one in arguments)})"
        inner = f" of which each is {wanted(arguments[0])}" if arguments else ""
        return f"a list{inner}"
    if base is abc.Callable:
        return "a function or its config"
    return f"the config of a {getattr(base, '__name__', base)}"
