import json
import signal
import sys
import time
from pathlib import Path

import pytest

from tools.benchmark import synthetic, synthetic_runs

BASE = "configs/bases/dit_bold.py"
TINY = {
    "model.backbone.num_single_layers": 1,
    "model.backbone.num_attention_heads": 1,
    "train_dataloader.batch_size": 2,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
}


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.py"
    small = {key: value for key, value in TINY.items() if "workers" not in key}
    loss = {
        "model.attention_losses.correspondence.layers": ["@aligned"],
        "model.attention_losses.entropy.layers": ["@aligned"],
        "test_evaluator.0.layers": ["@aligned"],
    }
    path.write_text(
        f"bases = dict(tiny=dict(config={BASE!r}, options={TINY!r}))\n"
        f"rows = dict(\n"
        f"    none=dict(base='tiny', config='configs/coral/dit_bold_baseline.py',\n"
        f"              options={small | {'test_evaluator.0.layers': ['@aligned']}!r}),\n"
        f"    coral=dict(base='tiny', config='configs/coral/dit_bold.py', ship=True, steps=[2],\n"
        f"               options={small | loss!r}),\n"
        f")\n"
    )
    return path


def asked(grid, *more):
    return synthetic.parse_args([str(grid), "--out", str(grid.parent / "out"), *more])


def test_a_user_adds_a_row_with_one_command(grid):
    row = ("--row", "mine", "tiny", "configs/coral/dit_bold.py", "model.mask_loss_weight=2.0")
    bases, rows = synthetic.read_grid(asked(grid, *row))
    assert list(bases) == ["tiny"] and list(rows) == ["none", "coral", "mine"]
    assert rows["mine"]["options"] == {"model.mask_loss_weight": 2.0}
    assert list(synthetic.read_grid(asked(grid, *row, "--only", "mine"))[1]) == ["mine"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--only", "other"), "the rows are none, coral"),
        (("--row", "mine", "flux", "a.py"), "no base 'flux'; there are tiny"),
        (("--row", "mine", "tiny"), "give its base and its config"),
    ],
)
def test_a_row_that_cannot_be_is_refused(grid, more, said):
    with pytest.raises(ValueError, match=said):
        synthetic.read_grid(asked(grid, *more))


def test_a_shorter_run_keeps_the_shape_of_its_schedule(grid):
    args = asked(grid, "--samples", "8", "--split", "bench", "--people", "4")
    part = {"config": "configs/coral/dit_bold.py"}
    options = synthetic.options_of(args, part, 100)
    assert options["train_cfg.max_iters"] == options["param_scheduler.1.end"] == 100
    assert options["param_scheduler.0.end"] == options["param_scheduler.1.begin"] == 25
    assert options["test_dataloader.dataset.split"] == "bench"
    assert options["train_dataloader.dataset.length"] == 8
    options = synthetic.options_of(args, {"config": BASE}, None)
    assert options["train_dataloader.dataset.datasets.1.length"] == 8
    assert "train_cfg.max_iters" not in options


def test_the_base_names_the_block_of_its_rows():
    options = {"model.attention_losses.entropy.layers": ["@aligned"], "seed": 1}
    assert synthetic.resolved(options, "block.3")["model.attention_losses.entropy.layers"] == [
        "block.3"
    ]


def test_a_training_that_time_ends_goes_on_to_its_test(monkeypatch):
    def train(config):
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            time.sleep(60)
        finally:
            signal.signal(signal.SIGTERM, before)

    monkeypatch.setattr("vtonlab.engine.running.training.train", train)
    synthetic_runs.train_until({}, time.time() + 0.2)  # returns
    monkeypatch.setattr("vtonlab.engine.running.training.train", lambda config: sys.exit(143))
    with pytest.raises(SystemExit):  # somebody else ended it
        synthetic_runs.train_until({}, time.time() + 60)


def test_a_base_from_the_box_has_its_cards_scores(grid):
    facts = synthetic.shipped({"box": "base_dit", "aligned": "some.block"})
    assert facts["aligned"] == "some.block" and facts["checkpoint"].endswith(".safetensors")
    assert facts["metrics"]["share_of_the_way"] > 0


def test_a_base_of_other_settings_is_not_taken(grid, monkeypatch):
    """Other people to score are no other base; --weights trains none."""
    jobs = []

    def trained(args, bases, what, iterations, until):
        jobs.extend((what, name) for name in bases)
        for name, base in bases.items() if what == "train_base" else ():
            options = synthetic.options_of(args, base, iterations)
            job = dict(config=base["config"], options=options)
            (args.out / f"base_{name}").mkdir(parents=True)
            synthetic.write(args.out / f"base_{name}/job.json", job)
            facts = dict(iterations=2, aligned="a", metrics=dict(share_of_the_way=0.2))
            synthetic.write(args.out / f"base_{name}.json", facts)

    monkeypatch.setattr(synthetic, "_on_bases", trained)

    def start(*more):
        args = asked(grid, *more)
        args.start = time.time()
        synthetic.train_bases(args, synthetic.read_grid(args)[0])

    with pytest.raises(ValueError, match="--weights trains nothing, and base 'tiny'"):
        start("--weights", "earlier")
    start()
    start("--split", "bench", "--weights", "earlier")
    assert jobs == [("train_base", "tiny"), ("test_base", "tiny")]
    with pytest.raises(ValueError, match="base_tiny holds a base of other settings"):
        start("--base-iterations", "7")


@pytest.mark.slow
def test_a_whole_grid_and_its_second_start(grid, monkeypatch, capsys):
    command = ["synthetic.py", str(grid), "--out", str(grid.parent / "out"), "--seeds", "0", "1"]
    command += [
        "--split",
        "bench",
        "val",
        "--people",
        "2",
        "--samples",
        "4",
        "--base-iterations",
        "2",
        "--iterations",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--jobs", "1"])
    assert synthetic.main() == 0
    out = grid.parent / "out"
    results = json.loads((out / "results.json").read_text())
    assert [(r["job"]["row"], r["job"]["seed"]) for r in results] == [
        ("none", 0), ("none", 1), ("coral", 0), ("coral", 1),
    ]  # fmt: skip
    assert "share_of_the_print" in results[2]["scores"]["bench"]["metrics"]
    assert set(results[2]["scores"]["val"]["pairs"]["l1_inside"]) and "2" in results[2]["steps"]
    table = (out / "table.md").read_text()
    assert "| none | 0 1 | 2 |" in table and "coral, seed 1, 2 steps" in table
    assert (out / "sheet.png").is_file() and (out / "base_tiny.safetensors").is_file()
    assert (out / "weights/coral_seed0.safetensors").is_file()
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/run.json")}
    assert synthetic.main() == 0 and "drawing 0 people" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("runs/*/run.json")}


@pytest.mark.parametrize("name", ["dit", "unet", "zero_unet", "catvton", "unet_wide", "ablations"])
def test_a_row_of_a_grid_trains_the_losses_of_its_name(name):
    """Each on layers that its model reads, from the base that ships for it."""
    from vtonlab.engine.config.load import load_config
    from vtonlab.zoo import card

    bases, rows = synthetic.read_grid(asked(Path(f"configs/_base_/benchmark/{name}.py")))
    assert all(card(base["box"]).config == base["config"] for base in bases.values())
    for row, settings in rows.items():
        config = load_config(settings["config"], settings["options"])
        losses = config.model.attention_losses
        assert bool(losses) == (not row.startswith("none"))
        read = set(config.model.probe.layers)
        assert all("*" in read or set(loss.layers) <= read for loss in losses.values())
        if "train_cfg.max_iters" not in settings["options"] and row == "CORAL":
            assert losses.entropy.start_iter == config.train_cfg.max_iters // 2
