"""tools/benchmark/ablate.py: which runs a grid has, that none is done twice, what is written."""

import importlib.util
import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from vtonlab.engine.cli import run_tool

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/test_engine"))
import toy  # noqa: E402

spec = importlib.util.spec_from_file_location("ablate", ROOT / "tools/benchmark/ablate.py")
ablate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ablate)
VARY = ["--vary", "model.drop", "0.0", "0.5", "--vary", "train_cfg.max_iters", "2"]


@pytest.fixture
def grid(tmp_path, monkeypatch, capsys):
    """``grid(*arguments)`` -> (exit code, stdout, stderr), on the toy config."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "configs/_base_/default_runtime.py", tmp_path / "default_runtime.py")
    text = toy.TEXT.format(base=".default_runtime") + "custom_imports = dict(imports=['toy'])\n"
    text = text.replace("max_iters=20", "max_iters=4") + "log_level = 'ERROR'\n"
    (tmp_path / "toy_run.py").write_text(text)

    def run(*arguments):
        fixed = ["ablate.py", "toy_run.py", "--out", "grid", "--metrics", "l1"]
        monkeypatch.setattr(sys, "argv", [*fixed, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run_tool(ablate.main)
        out = capsys.readouterr()
        return stop.value.code, out.out, out.err

    return run


def test_one_key_at_a_time_or_all_combinations():
    vary = [["a.b", "1", "0.5"], ["c", "None", "mean"]]
    assert ablate.changes_of(vary, product=False) == [
        {}, {"a.b": 1}, {"a.b": 0.5}, {"c": None}, {"c": "mean"}
    ]  # fmt: skip
    assert ablate.changes_of(vary, product=True) == [
        {"a.b": 1, "c": None}, {"a.b": 1, "c": "mean"},
        {"a.b": 0.5, "c": None}, {"a.b": 0.5, "c": "mean"},
    ]  # fmt: skip
    names = ablate.short_names(["a.b", "c"])
    assert ablate.name_of({"a.b": 0.5, "c": "x/y"}, 3, names) == "b=0.5-c=x-y_seed3"
    with pytest.raises(ValueError, match=r"seeds are no change.*--seeds 0 1"):
        ablate.changes_of([["randomness.seed", "0", "1"]], product=False)
    for wrong in ([["a"]], [["a", "1"], ["a", "2"]]):
        with pytest.raises(ValueError, match="each key once"):
            ablate.changes_of(wrong, product=False)


def test_values_name_the_seed_and_the_config():
    args = Namespace(config="configs/gcl3d/tryon_synthetic.py", cfg_options={"size": [64, 48]})
    change = {"config": "configs/gcl3d/tryon_synthetic_neither.py"}
    change["load_parts.warping"] = "DIR/{config}/{seed}/model.safetensors"
    config = ablate.load(args, change, 2)
    assert config.load_parts.warping == "DIR/tryon_synthetic_neither/2/model.safetensors"
    assert config.model.warping.start == "identity"


def test_keys_with_equal_last_parts_have_names_of_their_own():
    keys = [
        "losses.flow.weight",
        "losses.tv.weight",
        "weight",
        "losses.flow.t_max",
        "x.flow.weight",
    ]
    names = ablate.short_names(keys)
    assert list(names) == keys and len(set(names.values())) == len(keys)
    assert names["losses.tv.weight"] == "tv.weight" and names["losses.flow.t_max"] == "t_max"
    assert names["losses.flow.weight"] == "losses.flow.weight" and names["weight"] == "weight"
    runs = [{"losses.flow.weight": 1}, {"losses.tv.weight": 1}, {"weight": 1}]
    assert len({ablate.name_of(change, 0, names) for change in runs}) == 3
    failed = [dict(change=change, seed=0, failed="why") for change in runs]
    said = ablate.table(failed, ["l1"])
    assert "\nflow.weight=1_seed0 failed: why\ntv.weight=1_seed0 failed: why\n" in said


def test_a_grid_runs_once_and_grows(grid):
    code, out, err = grid(*VARY)
    assert code == 0, err
    assert out.count("| model.drop = ") == 2
    results = json.loads(Path("grid/results.json").read_text())
    assert [r["change"] for r in results] == [
        {}, {"model.drop": 0.0}, {"model.drop": 0.5}, {"train_cfg.max_iters": 2}
    ]  # fmt: skip
    assert all(r["metrics"]["l1"] > 0 for r in results)
    assert Path("grid/plot.png").stat().st_size > 1000
    first = Path("grid/drop=0.0_seed0/iter_4.pth")
    written = first.stat().st_mtime_ns
    Path("grid/drop=0.5_seed0/run.json").unlink()  # as if stopped between training and test
    trained = Path("grid/drop=0.5_seed0/iter_4.pth").stat().st_mtime_ns
    code, _, err = grid(*VARY)
    assert code == 0, err
    assert first.stat().st_mtime_ns == written
    assert Path("grid/drop=0.5_seed0/iter_4.pth").stat().st_mtime_ns == trained
    assert json.loads(Path("grid/results.json").read_text()) == results


def test_bad_input_is_found_before_the_first_run(grid):
    code, _, err = grid("--vary", "model.dorp", "0.1")
    assert code == 2
    assert "dorp" in err
    assert not Path("grid").exists()


def test_results_of_other_settings_are_not_mixed_in(grid):
    assert grid("--vary", "model.drop", "0.0")[0] == 0
    code, _, err = grid("--vary", "model.drop", "0.0", "--cfg-options", "model.hidden=4")
    assert code == 2
    assert "other settings" in err


def test_what_the_config_says_anyway_is_not_run_twice(grid):
    code, out, _ = grid("--vary", "train_cfg.max_iters", "4", "3", "--seeds", "0", "1")
    assert code == 0
    results = json.loads(Path("grid/results.json").read_text())
    assert [(r["change"], r["seed"]) for r in results] == [
        ({}, 0), ({}, 1), ({"train_cfg.max_iters": 3}, 0), ({"train_cfg.max_iters": 3}, 1)
    ]  # fmt: skip
    values = [r["metrics"]["l1"] for r in results]
    assert len(set(values)) == 4  # seeds differ
    row = next(line for line in out.splitlines() if "max_iters = 3" in line)
    mean, difference = sum(values[2:]) / 2, sum(values[2:]) / 2 - sum(values[:2]) / 2
    assert f"| {mean:.4f} ± " in row and f"{difference:+.4f} [" in row


def test_other_configs_are_compared_with_it(grid):
    from vtonlab.utils.source import commit

    text = Path("toy_run.py").read_text()
    Path("shorter.py").write_text(text.replace("max_iters=4", "max_iters=3"))
    code, out, err = grid("--vary", "config", "shorter.py", "toy_run.py")  # itself is no change
    assert code == 0, err
    results = json.loads(Path("grid/results.json").read_text())
    assert [r["change"] for r in results] == [{}, {"config": "shorter.py"}]
    assert results[0]["metrics"]["l1"] != results[1]["metrics"]["l1"]
    assert Path("grid/config=shorter.py_seed0/iter_3.pth").is_file()
    assert out.rstrip().endswith(f"Config `toy_run.py`, commit {commit()}.")
    code, _, err = grid("--vary", "config", "nowhere.py")
    assert code == 2 and "nowhere.py" in err


def test_a_run_that_fails_is_named_and_the_grid_goes_on(grid, monkeypatch):
    import torch

    real = toy.ToyModel.forward

    def forward(self, *args, **kwargs):
        if self.step_noise == 0.5:
            raise torch.OutOfMemoryError("tried 2 GiB")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(toy.ToyModel, "forward", forward)
    code, out, err = grid("--vary", "model.step_noise", "0.5", "0.1")
    assert code == 1
    assert "step_noise=0.5_seed0 failed: OutOfMemoryError: tried 2 GiB" in err
    assert "| model.step_noise = 0.5 | none | failed |" in out
    assert "step_noise=0.5_seed0 failed: OutOfMemoryError" in out
    assert "metrics" in json.loads(Path("grid/results.json").read_text())[2]


def test_differences_are_taken_pair_by_pair():
    def run(change, seed, shift):
        pairs = {"a": 1.0 + seed + shift, "b": 5.0 + seed + shift, "c": 9.0 - seed + shift}
        mean = sum(pairs.values()) / 3
        return dict(change=change, seed=seed, metrics={"m": mean}, pairs={"m": pairs})

    results = [run({}, s, 0.0) for s in (0, 1)] + [run({"x": 1}, s, 0.25) for s in (0, 1)]
    value, (low, high) = ablate.difference(results, {"x": 1}, "m")
    assert value == low == high == 0.25  # spread of people and seeds is gone
    assert ablate.difference(results[:2] + results[3:], {"x": 1}, "m")[0] == 0.25
    assert ablate.difference(results[2:], {"x": 1}, "m") is None
