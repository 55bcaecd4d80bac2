"""Numbers that are not finite, bfloat16, averages, counters, signals and locks."""

import copy
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from mmengine.hooks import Hook
from torch import nn

from vtonlab.engine import NonFiniteError, WarmupEMA, build_runner
from vtonlab.engine.distributed import WorkDirLock
from vtonlab.engine.hooks import SaveOnSignalHook
from vtonlab.engine.hooks.counter_rng import step_seed
from vtonlab.engine.optim import AutocastOptimWrapper, FiniteOptimWrapper
from vtonlab.engine.training import dry_run, train


def test_a_poisoned_sample_stops_before_the_step_and_is_named(toy_config):
    toy_config.train_dataloader.dataset.poison = 3
    config = copy.deepcopy(toy_config)
    with pytest.raises(NonFiniteError, match=r"iteration \d+ \(loss_a=nan.*item3\b.*loss is nan"):
        train(config)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # given back
    runner = build_runner(toy_config)
    with pytest.raises(NonFiniteError):
        runner.train()
    for hook in runner.hooks:
        if isinstance(hook, SaveOnSignalHook):
            hook.after_train(runner)
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def test_poisoned_steps_can_be_skipped_and_are_counted(toy_config):
    toy_config.train_dataloader.dataset.poison = 3
    toy_config.optim_wrapper.update(on_nonfinite="skip", max_skips=5)
    runner = train(toy_config)
    assert runner.iter == 20 and 1 <= runner.optim_wrapper.skips <= 5
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    toy_config.optim_wrapper.max_skips = 0
    toy_config.work_dir += "b"
    with pytest.raises(NonFiniteError, match="more than max_skips"):
        train(toy_config)


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


class SendSignal(Hook):
    """Sends this process a signal in the middle of iteration 7."""

    def __init__(self, number: int) -> None:
        self.number = number

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 6:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_at_a_boundary_and_resumes_exactly(toy_config, number, code):
    toy_config.optim_wrapper.accumulative_counts = 2
    whole = copy.deepcopy(toy_config)
    whole.work_dir += "_whole"
    expected = train(whole).model.state_dict()

    handler = signal.getsignal(number)
    stopped = build_runner(toy_config)
    stopped.register_hook(SendSignal(number))
    with pytest.raises(SystemExit) as exit_code:
        stopped.train()
    assert exit_code.value.code == code and signal.getsignal(number) is handler
    assert (Path(toy_config.work_dir) / "iter_8.pth").is_file()  # 7 is in mid-accumulation

    toy_config.resume = True
    resumed = train(toy_config).model.state_dict()
    assert all(torch.equal(expected[k], v) for k, v in resumed.items())


def _hold(folder: str, ready, release) -> None:
    with WorkDirLock(folder):
        ready.set()
        release.wait(20)


def test_one_run_per_work_directory(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, release))
    other.start()
    assert ready.wait(20)
    with pytest.raises(ValueError, match=rf"in use by process {other.pid} on .*--work-dir"):
        WorkDirLock(tmp_path).__enter__()
    other.kill()  # the lock goes with its process
    other.join()
    with WorkDirLock(tmp_path):
        pass


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
    measured = dry_run(toy_config)
    assert measured["peak_bytes"] > 1e6 and measured["checkpoint_bytes"] > 1000
    assert measured["parameters"] == sum(p.numel() for p in toy.ToyModel().parameters())
    assert not (tmp_path / "work").exists()


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
