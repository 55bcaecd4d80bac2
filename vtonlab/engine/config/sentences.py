"""The sentence for a key that nothing knows."""

import difflib
from collections.abc import Iterable


def unknown_key(path: tuple[str, ...], names: Iterable[str], where: str) -> str:
    """``unknown key 'a.b' in the config: did you mean 'c'?``"""
    return f"unknown key {'.'.join(path)!r} in {where}" + hint(path[-1], names)


def hint(wanted: str, names: Iterable[str]) -> str:
    """The nearest of ``names``, or some of them."""
    names = sorted({name for name in names if not name.startswith("_")})
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    if near:
        return f": did you mean {near[0]!r}?"
    if not names:
        return ": there is nothing to set here"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f": valid names here are {shown}"
