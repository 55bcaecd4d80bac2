"""Which state of vtonlab's own code runs."""

import subprocess
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def commit() -> str | None:
    """Commit of the clone that this package lies in, with a ``+`` where its files were changed
    since; None for an installed package, or without git.
    """
    where = ["git", "-C", str(_PACKAGE)]
    try:
        listed = _asked([*where, "ls-files", "--error-unmatch", "version.py"])
        head = _asked([*where, "rev-parse", "--short=12", "HEAD"])
        changed = _asked([*where, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}{'+' if changed else ''}" if listed and head else None


def _asked(command: list[str]) -> str:
    done = subprocess.run(  # noqa: S603 - git, on the folder that this file lies in
        command, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
