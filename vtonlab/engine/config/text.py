"""A config as text that reads back as the same config."""

from collections.abc import Mapping
from keyword import iskeyword
from typing import Any

WIDTH = 100


def config_text(values: Mapping[str, Any]) -> str:
    """Python assignments, sorted by name, one for each top-level key.

    A value stays on one line where it fits in 100 columns. mmengine's own text goes through a
    formatter of code, which takes seconds at real size.
    """
    rows = (f"{key} = {_text(value, len(key) + 3, 0)}" for key, value in sorted(values.items()))
    return "\n".join(rows) + "\n"


def _text(value: Any, used: int, indent: int) -> str:
    """``value`` as source; ``used`` columns of its first line are taken."""
    flat = _flat(value)
    if used + len(flat) < WIDTH or not (isinstance(value, (Mapping, list, tuple)) and value):
        return flat
    inner = indent + 4
    if isinstance(value, Mapping):
        start, between, end = _brackets(value)
        heads = [repr(key) if between == ": " else str(key) for key in value]
        items = [
            f"{head}{between}{_text(item, inner + len(head) + len(between) + 1, inner)}"
            for head, item in zip(heads, value.values(), strict=True)
        ]
    else:
        start, end = ("[", "]") if isinstance(value, list) else ("(", ")")
        items = [_text(item, inner + 1, inner) for item in value]
    rows = "".join(f"{' ' * inner}{item},\n" for item in items)
    return f"{start}\n{rows}{' ' * indent}{end}"


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        start, between, end = _brackets(value)
        keys = [repr(key) if between == ": " else str(key) for key in value]
        items = zip(keys, map(_flat, value.values()), strict=True)
        return start + ", ".join(f"{key}{between}{item}" for key, item in items) + end
    if isinstance(value, (list, tuple)):
        inside = ", ".join(map(_flat, value))
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f"float({str(value)!r})"
    return repr(value)


def _brackets(value: Mapping) -> tuple[str, str, str]:
    """``dict(a=1)`` where every key is a name, else ``{'a b': 1}``."""
    plain = all(isinstance(k, str) and k.isidentifier() and not iskeyword(k) for k in value)
    return ("dict(", "=", ")") if plain else ("{", ": ", "}")
