"""vis_matches and the matcher benchmark: what they draw and count."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vtonlab.structures import Correspondences, FlowField

cv2 = pytest.importorskip("cv2")
TOOLS = Path(__file__).parents[2] / "tools"


def load(path):
    spec = importlib.util.spec_from_file_location(f"tool_{Path(path).stem}", TOOLS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def identity(size):
    h, w = size
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    return torch.stack([x, y], -1)


def test_benchmark_counts_right_matches():
    tool = load("benchmark/matchers.py")
    visible = torch.zeros(tool.SIZE, dtype=torch.bool)
    visible[:, :200] = True
    flow = FlowField(identity(tool.SIZE), visible)
    person = np.array([[50, 60], [70.0, 80], [90, 100], [300, 100], [200, 50], [203, 50]])
    garment = person.copy()
    garment[1:3, 0] += (3.0, 4.5)
    matches = Correspondences.from_pixels(person, garment, tool.SIZE, tool.SIZE)
    # exact; within 4 px; beyond; off the garment; one pixel beside its outline; three beside it
    right = tool.right_matches(matches, flow)
    assert right.tolist() == [True, True, False, False, True, False]
    tokens = tool.GRID[0] * sum((c + 0.5) / tool.GRID[1] * 384 < 200 for c in range(tool.GRID[1]))
    assert tool.covered(matches, right, flow) == pytest.approx(2 / tokens, rel=0.1)


def test_benchmark_sums_over_matches_not_over_rows():
    tool = load("benchmark/matchers.py")
    rows = [
        dict(hardness="a", texture="text", matches_per_pair=30.0, precision=1.0),
        dict(hardness="a", texture="plain", matches_per_pair=10.0, precision=0.0),
        dict(hardness="b", texture="text", matches_per_pair=0.0, precision=None),
    ]
    a, b, both = tool.summed(rows)
    assert a["precision_all"] == 0.75 and a["precision_textured"] == 1.0
    assert b["precision_all"] is None and both["precision_all"] == 0.75
    assert "| a |" in tool.markdown([a, b, both])


def test_vis_matches_draws_two_photographs_with_what_was_removed(tmp_path, capsys, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    garment = cv2.resize(noise, (384, 512), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(garment).save(tmp_path / "garment.png")
    Image.fromarray(np.roll(garment, 20, 1)).save(tmp_path / "person.png")
    tool = load("analysis/vis_matches.py")
    monkeypatch.setattr(
        "sys.argv",
        ["vis_matches.py", "--photos", str(tmp_path / "person.png"), str(tmp_path / "garment.png"),
         "--explain", "--height", "128", "--out", str(tmp_path / "out")],
    )  # fmt: skip
    tool.main()
    said = capsys.readouterr().out
    assert "matches " in said and "removed by ratio" in said
    drawn = np.array(Image.open(tmp_path / "out" / "person.png"))
    assert drawn.shape[0] == (128 + 28) * (said.count("removed by") + 1)


def test_vis_matches_wants_a_config_or_photographs():
    tool = load("analysis/vis_matches.py")
    with pytest.raises(SystemExit) as stop:
        tool.parse_args([])
    assert stop.value.code == 2
