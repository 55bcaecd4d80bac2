"""The benchmark of a warping model's parts, at toy size."""

import importlib.util
from pathlib import Path

import pytest

from vtonlab.engine.config.load import load_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools/benchmark/refinement_scales.py"
    spec = importlib.util.spec_from_file_location("refinement_scales", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_part_is_measured(tool):
    config = load_config(ROOT / "configs/gcl3d/warp_synthetic.py")
    rows = tool.parts(config, batch_size=1)
    names = ["encoders", "correlation and its warp", "refinement at 32x24", "refinement at 64x48"]
    assert [name for name, *_ in rows] == names
    assert all(seconds > 0 for _, seconds, _, _ in rows)
    assert all(rows[n][2] > 0 for n in (0, 2, 3))  # the correlation computes again what it needs
    assert rows[3][2] == pytest.approx(4 * rows[2][2], rel=0.2)  # four times the pixels
