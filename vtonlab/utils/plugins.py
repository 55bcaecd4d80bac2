"""Other people's modules: found by entry point, imported with a sentence that says what failed."""

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "vtonlab.plugins"  # [project.entry-points."vtonlab.plugins"] name = "package.module"
_loaded: set[str] = set()


def load_plugins() -> None:
    """Import the module of every installed entry point of the group ``vtonlab.plugins``, once.

    Raises:
        ValueError: a plugin fails inside; names it, the error and the line.
    """
    for point in entry_points(group=GROUP):
        if point.value not in _loaded:
            _loaded.add(point.value)  # first: a plugin asks the registries it is imported by
            try:
                import_plugin(point.module, f"the installed plugin {point.name!r}")
            except ValueError:
                _loaded.discard(point.value)
                raise


def import_plugins(modules: str | Sequence[str], *, forgive: bool = False) -> None:
    """Import the modules that a config's ``custom_imports`` names, from the current folder too.

    Args:
        forgive: only warn of a module that fails.

    Raises:
        ValueError: a module is not there or fails inside.
    """
    if modules and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for module in [modules] if isinstance(modules, str) else modules:
        try:
            import_plugin(module, "custom_imports")
        except ValueError as error:
            if not forgive:
                raise
            import warnings

            warnings.warn(str(error), stacklevel=2)


def import_plugin(module: str, who: str) -> None:
    """Import ``module``, which ``who`` asks for.

    Raises:
        ValueError: it is not there or fails inside.
    """
    try:
        import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_missing(module, error.name):
            raise ValueError(
                f"{who}: there is no module {module!r}: install it, or start from the folder that "
                "holds it"
            ) from error
        place = _last_place(error, module)
        raise ValueError(
            f"{who}: module {module!r} fails inside{place}: {type(error).__name__}: {error}"
        ) from error


def _is_missing(module: str, name: str | None) -> bool:
    """Whether what was not found is the module itself or a package it lies in."""
    return name is not None and (module == name or module.startswith(f"{name}."))


def _last_place(error: Exception, module: str) -> str:
    """`` (file:line)``, the last line of the plugin's own that was running."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    root = module.partition(".")[0]
    try:
        spec = find_spec(root)
    except (ImportError, ValueError):
        spec = None
    places = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if any(place and f.filename.startswith(place) for place in places)]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
