"""tools/analysis/probe_attention.py on an untrained toy: its files, and what it refuses."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs/coral/dit_synthetic.py")


@pytest.fixture
def tool(capsys, monkeypatch, tmp_path):
    """Run the tool inside this process, from an empty folder; (code, stdout, stderr)."""
    from vtonlab.engine.cli import run_tool

    path = ROOT / "tools/analysis/probe_attention.py"
    spec = importlib.util.spec_from_file_location("probe_attention", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["probe_attention.py", *arguments])
        try:
            run_tool(module.main)
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


def test_writes_map_picture_and_correlations(tool, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    facts = dict(format=1, system="toy", setting="paired", metrics={}, images=4)
    (results / "results.json").write_text(json.dumps(facts))
    rows = [f"test_{n:06d},test_{n:06d},upper_body,{n},{n / 10}" for n in range(4)]
    header = "id,garment_id,category,index,lpips"
    (results / "per_image.csv").write_text("\n".join([header, *rows]) + "\n")
    code, shown, _ = tool(
        CONFIG, "--pairs", "4", "--sigmas", "0.5", "0.9", "--results", str(results), "--out", "p"
    )
    assert code == 0, shown
    found = json.loads((tmp_path / "p/probe.json").read_text())
    assert len(found["layers"]) == 4 and found["sigmas"] == [0.5, 0.9] and found["pairs"] == 4
    assert found["best"]["layer"] in found["layers"] and f"best: {found['best']['layer']}" in shown
    assert found["correlations"]["lpips"]["pairs"] == 4
    assert Image.open(tmp_path / "p/probe.png").size[0] > 400


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((CONFIG, "nothing.pth"), "no checkpoint at nothing.pth"),
        ((CONFIG, "--layers", "nothing.*"), "nothing."),
        ((CONFIG, "--sigmas", "1.5"), "must lie in (0, 1]"),
        ((CONFIG, "--pairs", "0"), "at least 1"),
    ],
)
def test_refusals(tool, arguments, sentence):
    code, _, error = tool(*arguments)
    assert code == 2 and sentence in error
