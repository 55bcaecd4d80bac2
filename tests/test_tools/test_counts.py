"""Options that count something: none of it is refused at once, where the tool would do nonsense."""

import importlib

import pytest

COUNTS = {
    "judge": ("--repeats", "--limit", "--max-side", "--workers", "--tries"),
    "human_study": ("--pairs",),
    "report": ("--height",),
    "check_dataset": ("--max-pixels",),
    "demo": ("--iterations",),
    "extract_matches": ("--workers", "--batch"),
    "make_synthetic": ("--count",),
    "prepare": ("--size",),
    "train": ("--gpus",),
    "try_on": ("--num-steps", "--batch-size"),
    "analysis.vis_attention": ("--number", "--height"),
    "analysis.vis_matches": ("--number", "--height"),
    "benchmark.loader": ("--samples", "--rounds"),
    "benchmark.matchers": ("--samples",),
    "benchmark.reference_unets": ("--repeats",),
    "benchmark.sampling": ("--steps", "--repeats"),
    "benchmark.start_up": ("--repeats",),
    "benchmark.synthetic": ("--people", "--jobs", "--samples"),
    "benchmark.tasks": ("--people", "--iterations"),
    "benchmark.training_step": ("--steps",),
}


@pytest.mark.parametrize(("tool", "option"), [(t, o) for t, many in COUNTS.items() for o in many])
def test_nothing_is_no_count(tool, option, capsys):
    verb = ["export"] if tool == "human_study" else []
    for number in ("0", "-3"):
        with pytest.raises(SystemExit) as stop:
            importlib.import_module(f"tools.{tool}").parse_args([*verb, option, number, number])
        assert stop.value.code == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.endswith(f"argument {option}: must be at least 1, not {number}")
