"""What mkdocs asks before it builds the site (``hooks`` in mkdocs.yml).

Pages that nobody writes are made here: the registered classes, the model zoo, the results, the
notebooks, the changelog. Links that leave ``docs/`` lead to the repository, ``<!-- needs: ... -->``
becomes a visible note, ``<!-- table: FILE -->`` a table of that CSV file, and
``<!-- include: FILE -->`` the file itself.
"""

import re
import sys
from pathlib import Path, PurePosixPath

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]  # the tree being documented comes first

import notebooks  # noqa: E402
import reference  # noqa: E402
import tables  # noqa: E402

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FILE = re.compile(r"<!-- include: (\S+) -->")
_NEEDS = re.compile(r"<!-- needs: (.*?) -->")


def on_files(files: Files, config) -> Files:
    """Add the pages that are made."""
    made = {
        **reference.pages(),
        **notebooks.pages(ROOT / "docs/notebooks"),
        "zoo.md": tables.zoo(),
        "results.md": tables.results(),
        "changelog.md": _from_root((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")),
        "contributing.md": _from_root((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")),
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_config(config):
    """List the pages of registered classes in the navigation."""
    for entry in config.nav:
        if entry == {"Reference": "reference/"}:
            entry["Reference"] = ["reference/index.md", *reference.names()]
    return config


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Links out of docs/, needs and tables; code stays as it is."""
    folder = PurePosixPath(page.file.src_uri).parent
    parts = re.split(r"(^ *```.*?^ *```[ ]*$)", markdown, flags=re.S | re.M)
    for place in range(0, len(parts), 2):
        text = _LINK.sub(
            lambda found: _outside(found, folder, config.extra["repository"]), parts[place]
        )
        text = _FILE.sub(lambda found: _shown(found[1], config.extra["repository"]), text)
        text = _NEEDS.sub(r'<p class="needs">needs \1</p>', text)
        parts[place] = tables.filled(text, ROOT / "docs")
    return "".join(parts)


def _shown(path: str, repository: str) -> str:
    """A file of the repository as a block of code below its name."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return f"[`{path}`]({repository}/blob/main/{path})\n\n```python\n{text}```"


def _outside(found: re.Match, folder: PurePosixPath, repository: str) -> str:
    """A link to a file of the repository that is no page."""
    mark, words, target = found.groups()
    path, hash_, anchor = target.partition("#")
    if not path or "://" in path or path.startswith(("mailto:", "/")):
        return found[0]
    place = (ROOT / "docs" / folder / path).resolve()
    if place.is_relative_to(ROOT / "docs") and not place.is_relative_to(ROOT / "docs/examples"):
        return found[0]
    if not place.exists():
        return found[0]
    kind = "tree" if place.is_dir() else "blob"
    return f"{mark}[{words}]({repository}/{kind}/main/{place.relative_to(ROOT)}{hash_}{anchor})"


def _from_root(text: str) -> str:
    """A page of the repository's root, seen from docs/."""
    return _LINK.sub(
        lambda m: m[0] if "://" in m[3] or m[3].startswith("#") else f"{m[1]}[{m[2]}](../{m[3]})",
        text,
    )
