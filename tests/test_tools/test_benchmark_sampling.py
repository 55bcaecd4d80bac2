"""The benchmark compares like with like: unguided, both draw the same picture."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "tools" / "benchmark" / "sampling.py"
SPEC = importlib.util.spec_from_file_location("benchmark_sampling", PATH)
sampling = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sampling)

SMALL = ["--size", "64", "48", "--width", "16", "--steps", "2", "--repeats", "1"]


def no_dearer(row) -> None:
    """Counted, not timed. What is done once a picture weighs most here, in two steps of networks a
    tenth as wide as real ones.
    """
    assert row["products"] <= 1.0 and row["written"] <= 1.03


@pytest.mark.parametrize("system", sampling.SYSTEMS)
def test_the_pipeline_draws_our_picture(system):
    args = sampling.parse_args([*SMALL, "--batches", "2"])
    [row] = sampling.measure(system, False, args)
    assert row["levels_apart"] <= 1  # the pipeline rounds on another scale
    assert row["ours"] > 0 and row["diffusers"] > 0
    no_dearer(row)


@pytest.mark.parametrize("system", sampling.SYSTEMS[:2])
def test_guided_rows(system):
    args = sampling.parse_args([*SMALL, "--batches", "1", "2"])
    rows = sampling.measure(system, True, args)
    assert [row["batch"] for row in rows] == [1, 2] and rows[0]["of_batch_1"] == 1
    for row in rows:
        no_dearer(row)
    assert sampling.line(rows[1]).count("|") == sampling.HEAD.splitlines()[0].count("|")
