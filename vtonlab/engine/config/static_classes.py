"""Arguments of classes, read from their source files: nothing is imported.

Where several files have a class of one name, or several bases take the rest of the arguments, what
comes out are all of their arguments together: too many, never too few.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PLACES = (  # package, folders below it
    ("vtonlab", (".",)),
    ("mmengine", ("runner", "hooks", "optim", "model", "dataset", "visualization", "evaluator")),
    ("torch", ("optim", "utils/data")),
    ("diffusers", ("models",)),
)
_CLASS = re.compile(r"^class (\w+)\b", re.MULTILINE)
_PLAIN = ("object", "Module", "ABC", "Generic", "Protocol")  # bases without arguments


@cache
def arguments_of(name: str) -> frozenset[str] | None:
    """Names that the constructor of a class takes by keyword; None where that is not known."""
    found = [_of_class(node, tree) for node, tree in _classes(name)]
    if not found or None in found:
        return None
    return frozenset().union(*found)


def _of_class(node: ast.ClassDef, tree: ast.Module) -> frozenset[str] | None:
    if node.decorator_list and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        return None
    own = next((n for n in node.body if getattr(n, "name", None) == "__init__"), None)
    names: frozenset[str] = frozenset()
    if own is not None:
        given = own.args
        names = frozenset(a.arg for a in [*given.args, *given.kwonlyargs]) - {"self"}
        if given.kwarg is None:
            return names
    for base in node.bases:
        kind = base.value if isinstance(base, ast.Subscript) else base
        word = kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", "")
        if word in _PLAIN:
            continue
        inherited = arguments_of(_original_name(word, tree))
        if inherited is None:
            return None
        names |= inherited
    return names


def _original_name(word: str, tree: ast.Module) -> str:
    """What an imported class is called at home: ``import X as Y`` renames it."""
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if alias.asname == word:
                return alias.name
    return word


def _classes(name: str) -> Iterator[tuple[ast.ClassDef, ast.Module]]:
    """The classes of a name in the first package that has any."""
    for package, folders in PLACES:
        files = [file for file, names in _index(package, folders) if name in names]
        for file in files:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and node.name == name:
                    yield node, tree
        if files:
            return


@cache
def _index(package: str, folders: tuple[str, ...]) -> tuple[tuple[Path, frozenset[str]], ...]:
    """Files of a package with the names of their classes."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return ()
    root = Path(next(iter(spec.submodule_search_locations)))
    found = []
    for folder in folders:
        for file in sorted((root / folder).rglob("*.py")):
            if root.name != "vtonlab" or file.relative_to(root).parts[0] not in ("configs", ".mim"):
                names = _CLASS.findall(file.read_text(encoding="utf-8", errors="replace"))
                found.append((file, frozenset(names)))
    return tuple(found)
