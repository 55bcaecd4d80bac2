"""What may change when a run is resumed: its schedule, its averaging, the names of its weights."""

import copy
from pathlib import Path

import pytest
import torch

from vtonlab.engine.checkpoints.files import read_checkpoint, save_checkpoint_file
from vtonlab.engine.running.training import train


@pytest.fixture
def stopped(toy_config):
    """A config, and the checkpoint of its first ten iterations, averaged."""
    toy_config.custom_hooks = [dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.1)]
    toy_config.param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, T_max=10)]
    first = copy.deepcopy(toy_config)
    first.train_cfg.max_iters = 10
    runner = train(first)
    return toy_config, Path(first.work_dir) / "iter_10.pth", runner


def resumed(config, path, **changes):
    config = copy.deepcopy(config)
    config.update(resume=True, load_from=str(path), **changes)
    return train(config)


def test_a_new_schedule_with_the_same_optimiser(stopped):
    config, path, _ = stopped
    config.param_scheduler[0].T_max = 40
    config.optim_wrapper.optimizer.lr = 2e-3
    config.train_cfg.max_iters = 12
    old, new = resumed(config, path), resumed(config, path, new_schedule=True)
    whole = copy.deepcopy(config)
    whole.work_dir += "-whole"
    expected = train(whole).optim_wrapper.optimizer.param_groups[0]["lr"]
    group = new.optim_wrapper.optimizer.param_groups[0]
    assert group["lr"] == expected and group["initial_lr"] == 2e-3
    assert old.optim_wrapper.optimizer.param_groups[0]["initial_lr"] == 1e-3
    steps = {int(s["step"]) for s in new.optim_wrapper.optimizer.state.values()}
    assert steps == {12}  # its moments went on


def test_without_averaging_the_raw_weights_go_on(stopped):
    config, path, runner = stopped
    raw = {k: v.clone() for k, v in runner.bare_model.state_dict().items()}
    config.train_cfg.max_iters = 10
    found = resumed(config, path, custom_hooks=[]).bare_model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in raw.items())


def test_module_before_every_name_is_left_out(stopped, tmp_path):
    config, path, _ = stopped
    checkpoint = read_checkpoint(path)
    plain = checkpoint["state_dict"]
    checkpoint["state_dict"] = {f"module.{key}": value for key, value in plain.items()}
    save_checkpoint_file(checkpoint, tmp_path / "other.pth")
    config.train_cfg.max_iters = 1
    config.load_from = str(tmp_path / "other.pth")
    assert train(config).iter == 1
