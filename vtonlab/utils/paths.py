"""Names from lists never leave the data root (reliability.md R27)."""

from pathlib import Path, PureWindowsPath


def check_name(name: str) -> str:
    """Return ``name`` if, read as a path below some root, it cannot climb out of it.

    A test of the text alone: no file is touched, so it is cheap enough for every line of a list.

    Raises:
        ValueError: empty, absolute, with a drive, a backslash, NUL or line break, or with ``..``.
    """
    reason = None
    if not name.strip():
        reason = "it is empty"
    elif any(character in name for character in "\\\0\r\n"):
        reason = "it holds a backslash, NUL or line break"
    elif name.startswith(("/", "~")) or PureWindowsPath(name).drive:
        reason = "it is absolute"
    elif ".." in name.split("/"):
        reason = "it climbs with '..'"
    if reason:
        raise ValueError(f"{name!r} may not be read: {reason}; use names below the data root")
    return name


def resolve_inside(root: str | Path, name: str) -> Path:
    """The absolute path of ``name`` below ``root``; the file need not exist.

    ``root`` itself may be a symbolic link; links inside it may not lead out of it.

    Raises:
        ValueError: ``name`` points outside ``root``, by its text or through a link.
    """
    root = Path(root).resolve()
    target = (root / check_name(name)).resolve()
    if not target.is_relative_to(root):
        raise ValueError(
            f"{name!r} may not be read: a link leads outside the data root {root} to {target}; "
            "copy the files in or set follow_links=True"
        )
    return target
