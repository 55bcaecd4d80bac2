"""Code blocks of the documentation."""

import re
import shlex
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("configs/*/README.md"),
        *ROOT.glob("projects/*/README.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    ]
)
_BLOCK = re.compile(
    r"(?:<!-- needs: ([^>]*?) -->\s*\n\s*)?^([ ]*)```(\w+)[^\n]*\n(.*?)^\2```[ ]*$", re.S | re.M
)


class Block(NamedTuple):
    """One fenced block: its language, its text, and what it needs that a laptop has not."""

    language: str
    text: str
    needs: str


def blocks(page: Path) -> list[Block]:
    """All blocks of a page that name a language, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(m[3], dedent(m[4]), m[1] or "") for m in _BLOCK.finditer(text)]


def commands(text: str) -> list[str]:
    """Command lines of a block of bash, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [" ".join(shlex.split(line, comments=True)) for line in lines]
    return [command for command in found if command]
