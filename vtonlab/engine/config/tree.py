"""Walking a config: dictionaries and lists inside one another, with paths to what is there."""

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]


def has(node: Any, part: str) -> bool:
    """Whether a dictionary has a key, or a list an item of that number."""
    if isinstance(node, (list, tuple)):
        return part.isdigit() and int(part) < len(node)
    return isinstance(node, Mapping) and part in node


def child(node: Any, part: str) -> Any:
    """What stands there, where `has` says so."""
    return node[int(part)] if isinstance(node, (list, tuple)) else node[part]


def names(node: Any) -> list[str]:
    """Keys of a dictionary, or numbers of a list."""
    if isinstance(node, (list, tuple)):
        return [str(place) for place in range(len(node))]
    return list(node) if isinstance(node, Mapping) else []


def dictionaries(node: Any, path: Path = ()) -> Iterator[tuple[Path, Mapping]]:
    """Every dictionary inside another, with its path; the outermost is left out."""
    if isinstance(node, Mapping):
        if path:
            yield path, node
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        yield from dictionaries(value, (*path, str(key)))
