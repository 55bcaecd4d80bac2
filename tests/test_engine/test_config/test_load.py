"""One data root, a default work directory, --amp, and CPU processes."""

import copy
import sys
from pathlib import Path

import pytest
import toy
from mmengine.config import Config, ConfigDict

from vtonlab.engine.config.check import check_config
from vtonlab.engine.config.load import (
    RunConfig,
    finalize,
    inject_data_root,
    inject_pretrained,
    load_config,
    run_name,
)
from vtonlab.engine.config.sources import static_text
from vtonlab.engine.running.training import train

ROOT = Path(__file__).parents[3]


def test_data_root_option_arrives_in_every_data_set(toy_config_file, monkeypatch):
    config = load_config(toy_config_file, {"data_root": "some/where"})
    finalize(config)
    assert config.train_dataloader.dataset.data_root == "some/where"
    assert config.test_dataloader.dataset.data_root == "some/where"
    from vtonlab.engine import build_runner

    config.work_dir = str(toy_config_file.parent / "w")
    config.log_level = "ERROR"
    runner = build_runner(config)
    built = runner.build_dataloader(runner._train_dataloader)
    assert built.dataset.data_root == "some/where"


def test_data_root_reaches_through_wrappers_and_spares_what_has_its_own(toy_config):
    inner = dict(type="ToyDataset")
    toy_config.train_dataloader.dataset = ConfigDict(
        type="ConcatDataset",
        datasets=[copy.deepcopy(inner), dict(type="ToyDataset", data_root="own")],
    )
    toy_config.data_root = "top"
    kept = inject_data_root(toy_config)
    datasets = toy_config.train_dataloader.dataset.datasets
    assert [d["data_root"] for d in datasets] == ["top", "own"]
    assert kept == ["train_dataloader.dataset.datasets.1"]
    assert "data_root" not in toy_config.train_dataloader.dataset  # ConcatDataset takes none


def test_runs_of_two_methods_never_share_a_folder():
    names = ("configs/leffa/unet_vitonhd.py", "/x/configs/catvton/unet_vitonhd.py", "y/toy_run.py")
    found = [str(run_name(name)) for name in names]
    assert found == ["leffa/unet_vitonhd", "catvton/unet_vitonhd", "toy_run"]


def test_finalize_decides_what_the_command_line_decides(toy_config):
    toy_config.pop("work_dir")
    finalize(toy_config, seed=5, amp=True)
    assert toy_config.work_dir == "work_dirs/toy_run"
    assert toy_config.randomness.seed == 5
    assert toy_config.optim_wrapper.type == "AutocastOptimWrapper"


def test_loaders_with_workers_time_out(toy_config):
    toy_config.train_dataloader.num_workers = 2
    finalize(toy_config)
    assert toy_config.train_dataloader.timeout == 300
    assert "timeout" not in toy_config.test_dataloader


def test_processes_without_a_gpu_use_gloo(toy_config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    finalize(toy_config, launcher="pytorch")
    assert toy_config.env_cfg.dist_cfg.backend == "gloo"
    wrapper = toy_config.model_wrapper_cfg
    assert wrapper.device_ids is None
    assert not wrapper.broadcast_buffers and not wrapper.find_unused_parameters


def test_static_text_runs_nothing(tmp_path):
    (tmp_path / "base.py").write_text("raise SystemExit('ran')\n")
    (tmp_path / "main.py").write_text(
        "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n"
    )
    text = static_text(tmp_path / "main.py")
    assert "raise SystemExit" in text and "read_base" in text


def test_names_a_file_computes_with_are_dropped_and_go_where_they_went(toy_config_file, tmp_path):
    text = toy_config_file.read_text()
    text = text.replace("model = dict(", "width = 12\nmodel = dict(hidden=width, ")
    path = toy_config_file.parent / "with_ingredient.py"
    path.write_text(text)
    config = load_config(path)
    assert "width" not in config and config.model.hidden == 12
    check_config(config)
    assert load_config(path, {"width": 3}).model.hidden == 3
    with pytest.raises(ValueError, match=r"model\.hidden.*'wide'.*whole number"):
        check_config(load_config(path, {"width": "wide"}))
    path.write_text(text + "\nunused = 3\n")
    with pytest.raises(ValueError, match="unknown key 'unused'"):
        check_config(load_config(path))


def test_one_size_for_all_parts():
    config = load_config(ROOT / "configs/catvton/unet_synthetic.py", {"size": "96x72"})
    loaders = (config.train_dataloader, config.val_dataloader, config.test_dataloader)
    assert config.model.size == (96, 72)
    assert [loader.dataset.size for loader in loaders] == [(96, 72)] * 3
    assert config.filename == str(ROOT / "configs/catvton/unet_synthetic.py")
    options = {"people.framing": 0.2, "iterations": 80, "model.size": "32x24"}
    config = load_config(ROOT / "configs/catvton/unet_synthetic.py", options)
    assert config.test_dataloader.dataset.framing == 0.2
    assert config.train_cfg.max_iters == config.param_scheduler[1].end == 80
    assert config.model.size == (32, 24) and config.train_dataloader.dataset.size == (64, 48)
    with pytest.raises(ValueError, match="cannot be read with supervised_layers=3"):
        load_config(ROOT / "configs/leffa/unet_synthetic.py", {"supervised_layers": 3})


def test_none_takes_a_loss_metric_or_hook_out():
    options = {
        "model.attention_losses.entropy": None,
        "test_evaluator.0": None,
        "custom_hooks.1": None,
        "default_hooks.pictures": None,
    }
    config = load_config(ROOT / "configs/coral/dit_synthetic.py", options)
    check_config(config)
    assert list(config.model.attention_losses) == ["correspondence"]
    assert [metric["type"] for metric in config.test_evaluator] == ["ImageErrors"]
    assert [hook["type"] for hook in config.custom_hooks] == ["EMAHook"]
    assert config.default_hooks.pictures is None


def test_pretrained_reaches_the_parts_without_a_path(toy_config):
    toy_config.pretrained = "folder"
    toy_config.model.update(a=dict(path=None, b=[dict(path="own")]), c=dict(path=None))
    inject_pretrained(toy_config)
    model = toy_config.model
    assert (model.a.path, model.a.b[0].path, model.c.path) == ("folder", "own", "folder")


def test_custom_imports_work_in_the_new_dialect(toy_config_file, tmp_path, monkeypatch):
    (tmp_path / "my_plugin_module.py").write_text("LOADED = True\n")
    monkeypatch.chdir(tmp_path)
    path = toy_config_file.parent / "with_plugin.py"
    path.write_text(
        toy_config_file.read_text() + "custom_imports = dict(imports=['my_plugin_module'])\n"
    )
    check_config(load_config(path))
    assert sys.modules["my_plugin_module"].LOADED


def test_amp_reaches_each_of_several_optimizers(toy_config):
    toy_config.optim_wrapper = ConfigDict(copy.deepcopy(toy.TWO_OPTIMIZERS))
    finalize(toy_config, amp=True)
    kinds = [toy_config.optim_wrapper[part].type for part in ("generator", "discriminator")]
    assert kinds == ["AutocastOptimWrapper"] * 2
    toy_config.optim_wrapper.generator.type = "ApexOptimWrapper"
    with pytest.raises(ValueError, match=r"optim_wrapper\.generator\.type='ApexOptimWrapper'"):
        finalize(toy_config, amp=True)


def test_the_learning_rate_follows_the_batch(toy_config):
    with pytest.raises(ValueError, match="base_batch_size"):
        finalize(copy.deepcopy(toy_config), auto_scale_lr=True)
    toy_config.auto_scale_lr = dict(base_batch_size=16)
    toy_config.train_cfg.max_iters = 1
    finalize(toy_config, auto_scale_lr=True, work_dir=toy_config.work_dir)
    group = train(toy_config).optim_wrapper.optimizer.param_groups[0]
    assert group["initial_lr"] == pytest.approx(1e-3 * 4 / 16)


def test_deterministic_kernels_are_a_switch(toy_config):
    finalize(toy_config, deterministic=True, seed=3)
    assert toy_config.randomness == dict(seed=3, deterministic=True)
    check_config(toy_config)


def test_a_run_s_config_is_formatted_once(monkeypatch):
    config = Config(dict(model=dict(type="Toy", size=(4, 3)), lr=0.5))
    run = RunConfig.of(config)
    assert run.pretty_text == "lr = 0.5\nmodel = dict(type='Toy', size=(4, 3))\n"
    monkeypatch.setattr("vtonlab.engine.config.load.config_text", None)
    assert copy.deepcopy(run).pretty_text == run.pretty_text
