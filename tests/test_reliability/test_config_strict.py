"""Every kind of typo stops before training and names the nearest valid key (reliability.md R28)."""

import copy

import pytest
import toy

from vtonlab.engine.config.check import accepted_arguments, check_config, check_options
from vtonlab.engine.config.load import load_config

CASES = {
    "top-level: randomnes": (lambda c: c.update(randomnes=dict(seed=1)), "randomnes", "randomness"),
    "top-level: optim_wraper": (
        lambda c: c.update(optim_wraper=c.pop("optim_wrapper")),
        "optim_wraper",
        "optim_wrapper",
    ),
    "hook slot: chekpoint": (
        lambda c: c.default_hooks.update(chekpoint=dict(type="SafeCheckpointHook")),
        "default_hooks.chekpoint",
        "checkpoint",
    ),
    "hook argument: intervall": (
        lambda c: c.default_hooks.update(checkpoint=dict(type="CheckpointHook", intervall=1)),
        "default_hooks.checkpoint.intervall",
        "interval",
    ),
    "model argument: hiden": (lambda c: c.model.update(hiden=3), "model.hiden", "hidden"),
    "model type: ToyModell": (
        lambda c: c.model.update(type="ToyModell"),
        "model.type",
        "ToyModel",
    ),
    "optimizer argument: learning_rate": (
        lambda c: c.optim_wrapper.optimizer.update(learning_rate=1e-3),
        "optim_wrapper.optimizer.learning_rate",
        "lr",
    ),
    "optim_wrapper: clip_gard": (
        lambda c: c.optim_wrapper.update(clip_gard=dict(max_norm=1)),
        "optim_wrapper.clip_gard",
        "clip_grad",
    ),
    "train_cfg: max_itres": (
        lambda c: c.train_cfg.update(max_itres=3),
        "train_cfg.max_itres",
        "max_iters",
    ),
    "loader: drop_lst": (
        lambda c: c.train_dataloader.update(drop_lst=True),
        "train_dataloader.drop_lst",
        "drop_last",
    ),
    "env_cfg: cudnn_benchmarc": (
        lambda c: c.env_cfg.update(cudnn_benchmarc=True),
        "env_cfg.cudnn_benchmarc",
        "cudnn_benchmark",
    ),
    "top-level: resum": (lambda c: c.update(resum=True), "resum", "resume"),
    # and beyond the thirteen
    "data set argument": (
        lambda c: c.train_dataloader.dataset.update(lenght=3),
        "train_dataloader.dataset.lenght",
        "length",
    ),
    "sampler argument": (
        lambda c: c.train_dataloader.sampler.update(shufle=False),
        "train_dataloader.sampler.shufle",
        "shuffle",
    ),
    "schedule argument": (
        lambda c: c.param_scheduler[0].update(T_maks=3),
        "param_scheduler.0.T_maks",
        "T_max",
    ),
    "EMA argument": (
        lambda c: c.update(custom_hooks=[dict(type="EMAHook", ema_type="WarmupEMA", momentun=0.1)]),
        "custom_hooks.0.momentun",
        "momentum",
    ),
    "clip argument": (
        lambda c: c.optim_wrapper.update(clip_grad=dict(max_norn=1)),
        "optim_wrapper.clip_grad.max_norn",
        "max_norm",
    ),
    "metric argument": (
        lambda c: c.test_evaluator.update(prefx="a"),
        "test_evaluator.prefx",
        "prefix",
    ),
    "backend type": (
        lambda c: c.visualizer.update(vis_backends=[dict(type="TensorbordVisBackend")]),
        "visualizer.vis_backends.0.type",
        "TensorboardVisBackend",
    ),
    "log processor": (
        lambda c: c.log_processor.update(window_sise=3),
        "log_processor.window_sise",
        "window_size",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_typo_is_refused(case, toy_config):
    change, key, nearest = CASES[case]
    change(toy_config)
    with pytest.raises(ValueError) as error:
        check_config(toy_config)
    assert key in str(error.value)
    assert nearest in str(error.value)
    assert "\n" not in str(error.value)


def test_good_configs_pass(toy_config):
    toy_config.custom_hooks = [
        dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.1, priority="HIGH"),
        dict(type="SampleGridHook", interval=5),
    ]
    toy_config._anything = dict(free=1)
    toy_config.optim_wrapper.clip_grad = dict(max_norm=1.0)
    toy_config.optim_wrapper.paramwise_cfg = dict(custom_keys={"net": dict(lr_mult=0.1)})
    toy_config.default_hooks.timer = None
    check_config(toy_config)


def test_nested_types_are_checked_wherever_they_stand(toy_config):
    toy_config.test_evaluator = [dict(type="ToyMetric"), dict(type="ToyMetric", prefox="b")]
    with pytest.raises(ValueError, match=r"test_evaluator\.1\.prefox.*prefix"):
        check_config(toy_config)


def test_several_optimizers_are_checked(toy_config):
    toy_config.optim_wrapper = dict(
        constructor="DefaultOptimWrapperConstructor",
        generator=dict(type="OptimWrapper", optimizer=dict(type="Adam", lrr=1)),
    )
    with pytest.raises(ValueError, match=r"generator\.optimizer\.lrr.*lr"):
        check_config(toy_config)


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("optim_wraper.optimizer.lr", "optim_wrapper"),
        ("optim_wrapper.optimizr.lr", "optimizer"),
        ("model.typ", "type"),
        ("model.hiden", "hidden"),
        ("param_scheduler.7.T_max", "0"),
        ("randomnes.seed", "randomness"),
        ("env_cfg.mp_cfg.mp_start_metod", "mp_start_method"),
        ("data_rot", "data_root"),
    ],
)
def test_options_need_an_existing_path(option, nearest, toy_config):
    with pytest.raises(ValueError, match=nearest) as error:
        check_options(toy_config, {option: 1})
    assert option.split(".")[0] in str(error.value)


def test_options_reach_existing_keys_and_arguments_with_defaults(toy_config_file):
    options = {"model.hidden": 5, "data_root": "d", "param_scheduler.0.T_max": 7}
    options |= {"optim_wrapper.clip_grad": dict(max_norm=1), "optim_wrapper.optimizer.lr": 0.5}
    config = load_config(toy_config_file, options)
    check_config(config)
    assert (config.model.hidden, config.data_root) == (5, "d")
    assert config.param_scheduler[0].T_max == 7
    assert config.optim_wrapper.optimizer.lr == 0.5


def test_arguments_of_chained_constructors():
    from mmengine.optim import AmpOptimWrapper, LinearLR

    assert {"start_factor", "by_epoch", "begin", "end"} <= accepted_arguments(LinearLR)
    assert {"loss_scale", "clip_grad"} <= accepted_arguments(AmpOptimWrapper)
    assert "kwargs" not in accepted_arguments(AmpOptimWrapper)


def test_unreadable_configs_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config at"):
        load_config(tmp_path / "missing.py")
    bad = tmp_path / "bad.py"
    bad.write_text("model = dict(\n")
    with pytest.raises(ValueError, match=r"bad\.py cannot be read"):
        load_config(bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(constructor="MultiOptimWraperConstructor"), "MultiOptimWrapperConstructor"),
        (dict(constructor=None), "constructor='MultiOptimWrapperConstructor'"),
        (dict(judge=dict(optimiser=dict(type="Adam"))), r"optim_wrapper\.judge has no optimizer"),
    ],
)
def test_parts_of_several_optimizers_are_checked(toy_config, change, message):
    toy_config.optim_wrapper = {**copy.deepcopy(toy.TWO_OPTIMIZERS), **change}
    if change.get("constructor", "") is None:
        del toy_config.optim_wrapper["constructor"]
    with pytest.raises(ValueError, match=message):
        check_config(toy_config)
