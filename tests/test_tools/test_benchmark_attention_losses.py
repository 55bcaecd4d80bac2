"""The benchmark of attention losses runs every row both ways and reports what it found."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[2] / "tools" / "benchmark" / "attention_losses.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("benchmark_attention_losses", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(tool, *arguments):
    base = [
        "--tokens",
        "192",
        "--heads",
        "2",
        "--head-size",
        "8",
        "--warmup",
        "0",
        "--repeats",
        "1",
    ]
    return tool.list_cells(tool.parse_args([*base, *arguments]))


def test_every_loss_runs_both_ways(tool):
    for cell in cells(tool):
        result = tool.run_loss_cell(cell)
        assert result["seconds"] > 0, cell


def test_table_and_plot(tool, tmp_path):
    results = [
        {**cell, "seconds": 1.0 + (cell.get("way") == "materialised"), "megabytes": 10.0}
        | {"cpu_seconds": 2.0 if cell["name"] == tool.UNIT else 2.5}
        for cell in cells(tool, "--only", "flow", "--steps")
    ]
    results[3] = {**results[3], "error": "needs some 38 GB, 16 free"}
    table = tool.table_of(results)
    assert "| one fused attention | 192 | 1.000 s | 1.00 | 2.000 s | 1.00 | 10 MB" in table
    assert "| flow | 192 | 1.000 s | 1.25 | needs some 38 GB, 16 free |  | 10 MB" in table
    assert "| dit | both CORAL losses | 2 x 3072 | 1.00 s | 1.000 | 10 MB | 1.000 |" in table
    tool.plot(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_the_unit_is_attention_both_ways(tool):
    tensors = [torch.randn(2, 3, 20, 8, dtype=torch.float64) for _ in range(3)]
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors)
    torch.testing.assert_close(tool.plain_attention(*tensors), expected)


def test_a_map_that_does_not_fit_is_not_tried(tool, monkeypatch):
    monkeypatch.setattr(tool, "free_gigabytes", lambda device: 0.0)
    record, materialised = cells(tool, "--only", "flow")[2:]
    assert tool.does_not_fit(record) is None
    assert "free" in tool.run_cell(materialised)["error"]


def test_unknown_rows_are_named(tool, capsys):
    assert tool.main(["--only", "nothing"]) == 2
    assert "flow" in capsys.readouterr().out


@pytest.mark.slow
def test_from_the_command_line(tool, tmp_path):
    arguments = ["--tokens", "192", "--only", "flow", "--out", str(tmp_path), "--repeats", "1"]
    assert tool.main(arguments) == 0
    assert len(json.loads((tmp_path / "results.json").read_text())) == 4
    assert "| flow | 192 |" in (tmp_path / "table.md").read_text()
