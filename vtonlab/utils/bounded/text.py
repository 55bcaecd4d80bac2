"""JSON and YAML: what a text would weigh as Python objects is known before it becomes any."""

import codecs
import json
from collections.abc import Iterator
from typing import Any

from vtonlab.utils.bounded.source import MAX_BYTES, FileError, Source, content, naming

MAX_DEPTH = 64
_MAX_OBJECTS = 3 * 2**29  # bytes of Python objects that one file may become
_NEST, _VALUE = 240, 64  # bytes that a list or dictionary, and a value in it, take at most
_YAML_BYTES = 2**20


def read_json(source: Source, max_bytes: int = MAX_BYTES) -> Any:
    """What a JSON file says.

    Raises:
        FileNotFoundError: no such file.
        FileError: not JSON, too large, or nested more than `MAX_DEPTH` deep.
    """
    return parse_json(content(source, max_bytes), source)


def parse_json(text: str | bytes, name: object) -> Any:
    """What a JSON text says; ``name`` is whose it is. Errors as `read_json`."""
    with naming(name):
        _weigh(text)
        value = json.loads(text)
        if _deeper_than(value, MAX_DEPTH):
            raise ValueError("it is nested too deeply")
        if _escaped(text):  # half a character, which no file or terminal takes
            json.dumps(value, ensure_ascii=False).encode()
    return value


def read_json_lines(source: Source, *, damaged: str = "last") -> Iterator[tuple[int, Any]]:
    """Number (from 1) and value of each line of JSON lines that is not blank.

    Args:
        source: the file.
        damaged: lines that may be, and are then passed over: ``"last"``, one without a line break,
            which a kill has cut; ``"any"``; or ``"none"``.

    Raises:
        FileNotFoundError: no such file.
        FileError: a damaged line; names file and line.
    """
    lines = content(source).removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line, f"{source}, line {number}")
        except FileError:
            if damaged == "any" or (damaged == "last" and number == len(lines)):
                continue
            raise
        yield number, value


def read_yaml(text: str | bytes, name: object) -> Any:
    """Plain values of a small YAML text: no tags, no aliases. Errors as `read_json`."""
    import yaml

    with naming(name):
        if len(text) > _YAML_BYTES:
            raise ValueError(f"it is larger than {_YAML_BYTES} bytes")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise ValueError("it has an anchor (&) or an alias (*): write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError("it is nested too deeply")
        return yaml.safe_load(text)


def _weigh(text: str | bytes) -> None:
    """``ValueError`` where lists, dictionaries and values would take too much memory."""
    marks = ("[", "{", ",", ":")
    nests, more, values, keys = (
        text.count(mark if isinstance(text, str) else mark.encode()) for mark in marks
    )
    weight = (nests + more) * _NEST + (values + keys) * _VALUE + 4 * len(text)
    if weight > _MAX_OBJECTS:
        raise ValueError(f"it would take {weight >> 20} MiB of memory, of {_MAX_OBJECTS >> 20}")


def _escaped(text: str | bytes) -> bool:
    """Whether it may hold halves of characters."""
    marks = ("\\ud", "\\uD") if isinstance(text, str) else (b"\\ud", b"\\uD")
    return any(mark in text for mark in marks)


def _deeper_than(value: Any, most: int) -> bool:
    """Level by level, not by recursion."""
    level = [value]
    for _ in range(most + 1):
        level = [node for node in level if isinstance(node, dict | list)]
        if not level:
            return False
        level = [
            child for node in level for child in (node.values() if type(node) is dict else node)
        ]
    return True
