"""The part of packaging that pyproject.toml can't say: recipes and tools travel in the wheel.

A clone has them through links (``vtonlab/configs``, ``vtonlab/.mim``); a wheel holds copies in the
same places, where mmengine and ``vtonlab train coral/dit_synthetic`` look for them.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
URL = "https://github.com/vtonlab/vtonlab"
COPIES = {
    "configs": ("configs", ".mim/configs"),
    "tools": (".mim/tools",),
    "model-index.yml": (".mim/model-index.yml",),
}


class BuildWithRecipes(build_py):
    """Copies configs, tools and the model index into the package that is built."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "vtonlab"
        for source, places in COPIES.items():
            for place in places:
                copy(HERE / source, package / place)


def copy(source: Path, target: Path) -> None:
    """A file or a folder without caches, in place of what is there."""
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        shutil.copyfile(source, target)


def absolute_links(text: str) -> str:
    """README for a package index, where relative links would be dead."""

    def absolute(match: re.Match) -> str:
        mark, words, target = match.groups()
        kind = "raw" if mark else "blob"
        return f"{mark}[{words}]({URL}/{kind}/main/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)]+)\)", absolute, text)


readme = HERE / "README.md"
setup(
    cmdclass={"build_py": BuildWithRecipes},
    long_description=absolute_links(readme.read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
