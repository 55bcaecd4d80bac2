"""Configs by name: ``coral/dit_synthetic`` is ours, wherever vtonlab is installed."""

import difflib
from pathlib import Path

OURS = Path(__file__).resolve().parents[2] / "configs"  # a link in a clone, copies in a wheel


def shipped() -> list[str]:
    """Names of all configs that vtonlab ships, such as ``coral/dit_synthetic``, sorted."""
    files = OURS.glob("*/*.py")
    return sorted(f"{f.parent.name}/{f.stem}" for f in files if not f.parent.name.startswith("_"))


def short_name(name: str | Path) -> str:
    """A config's name without ``vtonlab::``, ``configs/`` and ``.py`` around it."""
    return str(name).removeprefix("vtonlab::").removeprefix("configs/").removesuffix(".py")


def find_config(name: str | Path) -> Path:
    """The file of a config: a path as it is, else a shipped config of that name.

    Args:
        name: a path, or ``coral/dit_synthetic``, also with ``.py``, ``configs/`` or ``vtonlab::``
            around it.

    Raises:
        FileNotFoundError: neither; names the nearest shipped config.
    """
    path = Path(name)
    if path.is_file():
        return path
    short = short_name(name)
    found = OURS / f"{short}.py"
    if short in shipped() and found.is_file():
        return found
    near = difflib.get_close_matches(short, shipped(), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`vtonlab configs` lists those that are shipped"
    raise FileNotFoundError(f"no config at {name}, and none of ours has that name: {hint}")
