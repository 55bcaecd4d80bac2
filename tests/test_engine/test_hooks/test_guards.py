"""Numbers that are not finite, half precision, averages, counters, previews, dry runs."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from mmengine.config import ConfigDict
from torch import nn

from vtonlab.engine import NonFiniteError, WarmupEMA
from vtonlab.engine.hooks.counter_rng import step_seed
from vtonlab.engine.running.optimizers import AutocastOptimWrapper, FiniteOptimWrapper
from vtonlab.engine.running.training import dry_run, train


def wrapper(cls=FiniteOptimWrapper, **kwargs):
    model = nn.Linear(3, 1)
    return model, cls(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


def test_an_infinite_gradient_of_a_finite_loss_is_found():
    model, wrapped = wrapper()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(NonFiniteError, match="gradient norm is"):
        x = torch.zeros(1, requires_grad=True)
        wrapped.update_params(
            (torch.sqrt(x) * 0 + model(torch.ones(1, 3))).sum() * 1.0 + _inf(model)
        )
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def _inf(model: nn.Module) -> torch.Tensor:
    return torch.sqrt((model.weight * 0).sum())  # 0, with an infinite derivative


def test_clipping_equals_torch():
    torch.manual_seed(0)
    model, wrapped = wrapper(clip_grad=dict(max_norm=0.1))
    reference = copy.deepcopy(model)
    x = torch.randn(5, 3)
    wrapped.update_params(model(x).pow(2).mean() * 10)
    (reference(x).pow(2).mean() * 10).backward()
    torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.1)
    torch.optim.SGD(reference.parameters(), lr=0.1).step()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)


def test_accumulation_equals_the_large_batch():
    torch.manual_seed(0)
    model, wrapped = wrapper(accumulative_counts=4)
    reference = copy.deepcopy(model)
    x = torch.randn(8, 3)
    for part in x.split(2):
        wrapped.update_params(model(part).pow(2).mean())
    reference(x).pow(2).mean().backward()
    torch.optim.SGD(reference.parameters(), lr=0.1).step()
    torch.testing.assert_close(model.weight, reference.weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(accumulative_counts=0), "accumulative_counts"),
        (dict(on_nonfinite="ignore"), "on_nonfinite"),
        (dict(clip_grad=dict(norm_type=2)), "max_norm"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        wrapper(**arguments)


def test_autocast_computes_in_bfloat16_and_keeps_float32_parameters():
    model, wrapped = wrapper(AutocastOptimWrapper)
    with wrapped.optim_context(model):
        out = model(torch.ones(1, 3))
    assert out.dtype is torch.bfloat16 and model.weight.dtype is torch.float32
    with pytest.raises(ValueError, match="'bfloat16' or 'float16'"):
        wrapper(AutocastOptimWrapper, dtype="float64")


def test_average_warms_up_and_shares_what_is_frozen():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    average = WarmupEMA(model=model, momentum=0.01, warmup=10)
    assert average.module[0].weight is model[0].weight
    assert average.module[1].weight is not model[1].weight
    expected = None
    for step in range(200):
        with torch.no_grad():
            model[1].weight.add_(torch.randn(2, 2))
        average.update_parameters(model)
        decay = min(0.99, (1 + step) / (10 + step))
        new = model[1].weight.detach().double().clone()
        expected = new if step == 0 else decay * expected + (1 - decay) * new
    torch.testing.assert_close(average.module[1].weight.double(), expected, rtol=1e-5, atol=1e-5)
    for bad in (dict(momentum=0.0), dict(momentum=0.1, warmup=0.5)):
        with pytest.raises(ValueError):
            WarmupEMA(model=model, **bad)


def test_step_seeds_differ_by_seed_rank_and_iteration():
    seeds = {step_seed(s, r, i) for s in range(3) for r in range(3) for i in range(300)}
    assert len(seeds) == 3 * 3 * 300
    assert step_seed(0, 0, 0) == step_seed(0, 0, 0)


def test_pictures_are_drawn_at_intervals(toy_config):
    toy_config.custom_hooks = [
        dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.05),
        dict(type="SampleGridHook", interval=8, samples=3),
    ]
    plain = copy.deepcopy(toy_config)
    plain.custom_hooks = plain.custom_hooks[:1]
    plain.work_dir += "_plain"
    runner = train(toy_config)
    drawn = sorted(p.name for p in Path(toy_config.work_dir).rglob("*.png"))
    assert drawn == ["samples_16.png", "samples_20.png", "samples_8.png"]
    undisturbed = train(plain)
    for mine, theirs in zip(runner.model.parameters(), undisturbed.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_pictures_need_data(toy_config):
    toy_config.custom_hooks = [dict(type="SampleGridHook", interval=8)]
    for key in ("test_dataloader", "test_cfg", "test_evaluator"):
        toy_config.pop(key)
    with pytest.raises(ValueError, match="val_dataloader"):
        train(toy_config)


def test_tensorboard_gets_scalars_and_pictures(toy_config):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    toy_config.visualizer.vis_backends.append(dict(type="TensorboardVisBackend"))
    toy_config.custom_hooks = [dict(type="SampleGridHook", interval=20)]
    train(toy_config)
    (events,) = Path(toy_config.work_dir).rglob("events.out.*")
    written = EventAccumulator(str(events.parent)).Reload().Tags()
    assert {"loss", "loss_a", "lr", "grad_norm"} <= set(written["scalars"])
    assert written["images"] == ["samples"]


def test_a_dry_run_takes_one_step_and_leaves_nothing(toy_config, tmp_path):
    toy_config.optim_wrapper.accumulative_counts = 2
    toy_config.default_hooks.checkpoint.save_last = False  # it saves one all the same
    measured = dry_run(toy_config)
    assert measured["peak_bytes"] > 1e6 and measured["checkpoint_bytes"] > 1000
    assert measured["parameters"] == sum(p.numel() for p in toy.ToyModel().parameters())
    assert not (tmp_path / "work").exists()


def test_a_dry_run_of_several_optimizers_completes_a_step_of_each(toy_config):
    toy_config.model = dict(type="ToyAdversary")
    toy_config.optim_wrapper = ConfigDict(copy.deepcopy(toy.TWO_OPTIMIZERS))
    toy_config.optim_wrapper.generator.accumulative_counts = 2
    toy_config.optim_wrapper.discriminator.accumulative_counts = 3
    toy_config.param_scheduler = None
    assert dry_run(toy_config)["checkpoint_bytes"] > 1000
    assert toy_config.train_cfg.max_iters == 6


def test_validation_runs_at_intervals_and_keeps_training_exact(toy_config):
    plain = copy.deepcopy(toy_config)
    plain.work_dir += "_plain"
    toy_config.val_dataloader = toy_config.test_dataloader
    toy_config.update(val_cfg=dict(), val_evaluator=dict(type="ToyMetric"))
    toy_config.train_cfg.val_interval = 8
    runner = train(toy_config)
    assert np.isfinite(runner.message_hub.get_scalar("val/l1").current())
    assert len(runner.message_hub.get_scalar("val/l1").data[0]) == 3  # 8, 16 and the last, 20
    for mine, theirs in zip(
        runner.model.parameters(), train(plain).model.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)
