"""Notebooks as pages: their text and code, one after the other."""

import json
from pathlib import Path

REPOSITORY = "https://github.com/vtonlab/vtonlab/blob/main/docs/notebooks"


def cells(path: Path) -> list[tuple[str, str]]:
    """(``"markdown"`` or ``"code"``, text) of each cell."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]


def page(path: Path) -> str:
    """Markdown of one notebook."""
    parts = [f"```python\n{text}\n```" if kind == "code" else text for kind, text in cells(path)]
    title, *rest = parts
    link = f"[Open the notebook]({REPOSITORY}/{path.name}){{ .md-button }}"
    return "\n\n".join([title, link, *rest]) + "\n"


def pages(folder: Path) -> dict[str, str]:
    """File name -> Markdown of every notebook in a folder."""
    return {f"notebooks/{p.stem}.md": page(p) for p in sorted(folder.glob("*.ipynb"))}
