"""The GPU benchmark's whole path at tiny size on the CPU."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "tools" / "benchmark" / "flux_step.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("benchmark_flux_step", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("row", "supervised"), [("lora", True), ("attention", False)])
def test_a_row(tool, row, supervised, monkeypatch):
    monkeypatch.chdir(PATH.parents[2])
    args = tool.parse_args(["--tiny", "--size", "64", "48", "--warmup", "0", "--steps", "1"])
    result = tool.measure(row, supervised, args)
    assert result["seconds"] > 0 and result["trained"] > 0
    assert result["tokens_per_second"] == pytest.approx(36 / result["seconds"])
    assert result["useful_flops"] > 2 * 36 * 384 * 32  # more than the input projection
    line = tool.table([result], peak_tflops=1.0).splitlines()[-1]
    assert line.startswith(f"| {row} |") and line.count("|") == 7 and "%" in line


def test_failures_and_unknown_devices_are_in_the_table(tool):
    text = tool.table([dict(row="lora", supervised=True, error="out of memory")], None)
    assert "| lora | yes | out of memory |" in text
    assert tool.peak_of("NVIDIA H200", None) == 989.0 and tool.peak_of("CPU", None) is None
    assert tool.peak_of("CPU", 2.0) == 2.0
