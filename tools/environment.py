"""Imported first by every tool: a sentence, not a traceback, where its Python is the wrong one."""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "mmengine", "diffusers", "cv2")


def problem() -> str | None:
    """What keeps this Python from running vtonlab, with the way out; None if nothing does."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if not missing:
        return None
    ready = (ROOT / ".venv/bin/activate").is_file()
    first = "" if ready else "run `make install` (minutes, once) and "
    return (
        f"{sys.executable} has no {', '.join(missing)}: {first}enter the environment with "
        f"`source {ROOT}/.venv/bin/activate`"
    )


if said := problem():
    print(f"error: {said}", file=sys.stderr)
    raise SystemExit(2)
