"""Both notebooks run from their first cell to their last; they are stored without outputs."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4 and content["metadata"]["kernelspec"]["language"] == "python"
    space: dict = {"__name__": "__main__"}
    cells = [c for c in content["cells"] if c["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        assert not cell["outputs"] and cell["execution_count"] is None
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), space)
    assert capsys.readouterr().out


def test_there_are_two_and_the_second_takes_ten_lines():
    assert [p.stem for p in NOTEBOOKS] == ["attention_of_any_model", "demo"]
    cells = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"]
    (ten,) = (c for c in cells if "".join(c["source"]).startswith("def to_record"))
    lines = [line for line in "".join(ten["source"]).splitlines() if line.strip()]
    assert len(lines) <= 10
