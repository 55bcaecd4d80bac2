"""The GPU card at toy size on the CPU: every section runs, and what is written can be read."""

import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "tools" / "gpu_card.py"
# What the others measure is run by tests of its own: `test_attention_kernels`,
# `test_benchmark_attention_losses`, `test_benchmark_sampling`, `test_compile`, `test_sharding`.
QUICK = ("training", "statistics_cost")


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("gpu_card", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_toy_card(tool, tmp_path, monkeypatch, capsys):
    """In this process: a cell's own would import torch anew."""
    monkeypatch.chdir(PATH.parents[1])

    def run_cell(cell, out, seconds):
        if tool.known(cell, out) is None:
            tool.worker(cell, out)

    monkeypatch.setattr(tool, "run_cell", run_cell)
    arguments = ["--toy", "--jobs", "1", "--out", str(tmp_path), "--commit", "abc"]
    arguments += ["--sections", *QUICK]
    code = tool.main(arguments)
    rows = json.loads((tmp_path / "rows.json").read_text())
    found = {row["section"][0] for row in rows}
    assert found == {"b", "c", "g"} and {row["commit"] for row in rows} == {"abc"}
    ratio = next(row for row in rows if row["name"] == "FLUX, a toy, supervised / plain")
    assert ratio["ratio"] > 0
    costs = [row for row in rows if row["section"].startswith("b.")]
    assert len(costs) > 5 and all(row.get("ms", 0) > 0 for row in costs)
    assert code == int(any(row["ok"] is False for row in rows))
    text = (tmp_path / "card.md").read_text()
    assert text.count("\n| ") == len(rows) + 3 and "commit abc" in text  # a head for each section
    monkeypatch.setattr(tool, "run_cell", lambda *_: None)  # all is known: no cell runs again
    before = tmp_path / "before.json"
    before.write_text(json.dumps([{"section": "e. ranks and bits", "name": "old", "ok": True}]))
    tool.main([*arguments, "--before", str(before)])
    assert len(json.loads((tmp_path / "rows.json").read_text())) == len(rows) + 1
    assert "| old |  |  | pass |" in (tmp_path / "card.md").read_text()


def test_what_does_not_fit_is_left_out(tool, tmp_path, capsys):
    tool.run_cell({"section": "training", "number": 0, "seconds": 60}, tmp_path, 59)
    assert "training_0 left out: 59 s are left" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_cell_that_fails_is_a_row(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool.sys, "executable", "false")
    cell = {"section": "training", "number": 0, "name": "a model"}
    (tmp_path / "training_0.json").write_text(json.dumps([{"name": "found before"}]))
    monkeypatch.setattr(tool, "known", lambda *_: None)
    tool.run_cell(cell, tmp_path, 100.0)
    (row,) = json.loads((tmp_path / "training_0.json").read_text())
    assert row["ok"] is False and row["error"] == "exit code 1" and "a model" in row["name"]
