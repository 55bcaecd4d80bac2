"""The text of a config file and of the base files it reads, without running any of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from vtonlab.engine.config.names import OURS, find_config


def static_text(path: str | Path) -> str:
    """The text of a config and of the base files it reads; nothing is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not Python.
    """
    if Path(path).suffix in (".json", ".yml", ".yaml") and Path(path).is_file():
        return f"# ---- {path}\n{Path(path).read_text(encoding='utf-8')}"
    return "\n".join(f"# ---- {file}\n{text}" for file, text, _ in sources(Path(path)))


def used_names(path: str | Path) -> set[str]:
    """Names that a config or a base file of it reads somewhere, as in ``size=size``."""
    if Path(path).suffix != ".py":
        return set()
    nodes = (node for _, _, tree in sources(Path(path)) for node in ast.walk(tree))
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def sources(
    path: Path, *, missing_is_error: bool = False, above: tuple[Path, ...] = ()
) -> Iterator[tuple[Path, str, ast.Module]]:
    """A config file, then its base files, as text and parsed: those that relative imports name,
    imports of ``vtonlab.configs``, and ``_base_``.

    ``above`` are the files that led here.

    Raises:
        FileNotFoundError: no such file; with ``missing_is_error`` also a base file.
        ValueError: not Python.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no config at {path}")
    if path.absolute() in above or len(above) > 20:
        raise ValueError(f"config {path} reads itself through its base files")
    text = path.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ValueError(
            f"config {path} is not Python: line {error.lineno}: {error.msg}"
        ) from error
    yield path, text, tree
    here = (*above, path.absolute())
    for base in _bases(path, tree):
        if base.is_file() or missing_is_error:
            yield from sources(base, missing_is_error=missing_is_error, above=here)


def _bases(path: Path, tree: ast.Module) -> Iterator[Path]:
    yield from base_files(path)
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        parts = (node.module or "").split(".")
        if node.level:
            up = [".."] * (node.level - 1)  # as mmengine finds it: links are not resolved
            yield path.absolute().parent.joinpath(*up, *parts).with_suffix(".py")
        elif parts[:2] == ["vtonlab", "configs"]:
            yield OURS.joinpath(*parts[2:]).with_suffix(".py")


def base_files(path: Path) -> list[Path]:
    """Files that ``_base_`` of a Python config names: paths beside it, or ``vtonlab::NAME``.

    Raises:
        FileNotFoundError: names the base that is not there.
        ValueError: ``_base_`` is no literal.
    """
    if path.suffix != ".py":
        return []
    found = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if is_base(n)]
    if not found:
        return []
    try:
        named = ast.literal_eval(found[-1].value)
    except ValueError as error:
        raise ValueError(f"config {path}: _base_ must be a plain list of names") from error
    names = [named] if isinstance(named, str) else list(named)
    others = [n for n in names if "::" in n and not n.startswith("vtonlab::")]  # mmengine's to find
    return [_find(name, path) for name in names if name not in others]


def is_base(node: ast.stmt) -> bool:
    """Whether a statement is ``_base_ = ...``."""
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "_base_"


def _find(name: str, path: Path) -> Path:
    beside = path.parent / name
    if name.startswith("vtonlab::"):
        return find_config(name)
    if not beside.is_file():
        raise FileNotFoundError(f"config {path}: its base {name} is not beside it")
    return beside
