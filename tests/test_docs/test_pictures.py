"""The pictures of README and docs come from a script, with the models that ship."""

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools/docs"))


def test_every_picture_of_a_page_is_drawn_by_the_script():
    import pictures

    drawn = {f"{draw.__name__}.webp" for draw in pictures.DRAWN}
    assert drawn == {path.name for path in (ROOT / "docs/pictures").iterdir()}
    shown = set()
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        shown |= set(re.findall(r"pictures/(\w+\.webp)", page.read_text(encoding="utf-8")))
    assert shown == drawn
    assert sum(p.stat().st_size for p in (ROOT / "docs/pictures").iterdir()) < 600_000


@pytest.mark.slow
def test_the_script_draws_them(tmp_path, monkeypatch, capsys):
    import pictures

    monkeypatch.setattr(sys, "argv", ["pictures.py", "--out", str(tmp_path)])
    assert pictures.main() == 0
    for path in tmp_path.iterdir():
        with Image.open(path) as drawn, Image.open(ROOT / "docs/pictures" / path.name) as kept:
            assert drawn.size == kept.size
    monkeypatch.setattr(sys, "argv", ["pictures.py", "--only", "heros"])
    with pytest.raises(ValueError, match="there are hero"):
        pictures.main()
