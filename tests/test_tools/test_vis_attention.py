"""tools/analysis/vis_attention.py: pages and numbers of two models, and what it refuses."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs/coral/dit_synthetic.py")
LAYER = "transformer_blocks.1.attn"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[Path]:
    """Two untrained toys."""
    from vtonlab.engine.config.load import load_config
    from vtonlab.registry import MODELS

    folder, found = tmp_path_factory.mktemp("toys"), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = MODELS.build(load_config(CONFIG).model)
        found.append(folder / f"toy_{seed}.pth")
        torch.save(dict(state_dict=model.state_dict(), meta=dict()), found[-1])
    return found


@pytest.fixture
def tool(capsys, monkeypatch, tmp_path):
    """Run the tool inside this process, from an empty folder; (code, stdout, stderr)."""
    from vtonlab.engine.cli import run_tool

    path = ROOT / "tools/analysis/vis_attention.py"
    spec = importlib.util.spec_from_file_location("vis_attention", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["vis_attention.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run_tool(module.main)
        shown = capsys.readouterr()
        return stop.value.code, shown.out, shown.err

    return call


def test_two_models_side_by_side(tool, checkpoints, tmp_path):
    first, second = checkpoints
    code, shown, error = tool(
        *(CONFIG, first, "--against", CONFIG, second, "--names", "one", "two"),
        *("--ids", "test_000001", "--points", "0.5,0.5", "0.4,0.6", "--layers", LAYER),
        *("--heads", "mean", "each", "--height", "64", "--out", "seen"),
        *("--cfg-options", "test_dataloader.dataset.length=2"),
        "test_dataloader.dataset.cache_dir=None",
    )
    assert code == 0, error
    (entry,) = json.loads((tmp_path / "seen/attention.json").read_text())
    assert entry["id"] == "test_000001"
    rows = entry["attention"]
    assert len(rows) == 2 * 5 * 2  # models, heads and their mean, points
    assert [row["model"] for row in rows[::10]] == ["one", "two"]
    for row in rows:
        assert row["layer"] == LAYER and 0 < row["garment_mass"] < 1 and 0 < row["highest"] <= 1
        if row["truth"] is not None:
            off = np.abs(np.subtract(row["looks_at"], row["truth"])) * (12, 16)
            assert abs(off.max() - row["cells_off"]) < 0.02
    assert "(0.40, 0.60) two transformer_blocks.1.attn head 3: looks at" in shown
    points = Image.open(tmp_path / "seen/test_000001__test_000001_points.png")
    assert points.width == 11 * (48 + 6) + 6
    assert (tmp_path / "seen/test_000001__test_000001_everything.png").is_file()


def test_refusals_are_one_sentence(tool, checkpoints, tmp_path):
    small = ["--cfg-options", "test_dataloader.dataset.length=1"]
    for arguments, sentence in (
        ((CONFIG, tmp_path / "none.pth"), "no checkpoint at"),
        ((CONFIG, checkpoints[0], "--ids", "nobody", *small), "has no nobody"),
        ((CONFIG, checkpoints[0], "--heads", "7", *small), "has 4 heads, 0 to 3, no head 7"),
        ((CONFIG, checkpoints[0], "--points", "1.5,0"), "outside the picture"),
        ((CONFIG, checkpoints[0], "--heads", "some"), "none of mean, each or a number"),
        ((CONFIG, checkpoints[0], "--names", "a", "b"), "2 names for 1 models"),
    ):
        code, _, error = tool(*arguments)
        assert code == 2 and sentence in error, error
