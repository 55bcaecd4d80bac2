"""A training step on a GPU waits for it at most three times, whatever losses are on."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

sys.path.insert(0, str(Path(__file__).parents[2]))
from waits import Waits, mark

from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.hooks.runtime_info import LateHistory, Pending
from vtonlab.engine.running.loops import ResumableTrainLoop
from vtonlab.engine.running.runner import build_runner
from vtonlab.ops import attention_precision

ROOT = Path(__file__).parents[3]
LAYER = dict(layers=["transformer_blocks.1.attn"])
EVERY_LOSS = dict(
    regression=dict(type="CorrespondenceDistillationLoss", t_max=None, **LAYER),
    cross_entropy=dict(type="CorrespondenceDistillationLoss", form="cross_entropy", **LAYER),
    entropy=dict(type="AttentionEntropyLoss", t_max=None, **LAYER),
    keypoints=dict(type="KeypointAttentionLoss", t_max=700, **LAYER),
    flow=dict(type="AttentionFlowLoss", t_max=None, min_grid_ratio=0, **LAYER),
    smooth=dict(type="AttentionTVLoss", **LAYER),
    correlation=dict(type="CorrelationRegularizationLoss", **LAYER),
)


def test_a_step_with_every_loss_waits_twice(tmp_path, monkeypatch):
    """For the loss, before its backward pass, and for the norm of its gradient."""
    config = load_config(ROOT / "configs/coral/dit_synthetic.py")
    config.model.attention_losses = EVERY_LOSS
    config.train_dataloader.dataset.update(
        length=4, maps=["worn_mask", "flow", "correspondences"], cache_dir=str(tmp_path)
    )
    config.train_cfg.max_iters = 4
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.custom_hooks = [dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.1)]
    config.visualizer.vis_backends, config.log_level = [], "ERROR"
    runner = build_runner(finalize(config, work_dir=str(tmp_path)))
    monkeypatch.setattr(attention_precision, "SHARP_ELEMENTS", 0)  # a bound that CPUs alone read
    steps, one = [], ResumableTrainLoop.run_iter

    def counted(loop, batch):
        mark(batch)  # as a loader gives it; optimiser and average keep their counts on the host
        mark([state["step"] for state in runner.optim_wrapper.optimizer.state.values()])
        mark([hook.ema_model.steps for hook in runner.hooks if hasattr(hook, "ema_model")])
        with Waits() as waits:
            one(loop, batch)
        steps.append(waits)

    monkeypatch.setattr(ResumableTrainLoop, "run_iter", counted)
    runner.train()
    assert set(runner.message_hub.log_scalars) > {f"train/loss_{name}" for name in EVERY_LOSS}
    # the first step looks at gradients for DeadLossHook, the last is logged and saved
    assert [len(waits.found) for waits in steps[1:-1]] == [2, 2], steps[1].found
    assert not any(waits.refused for waits in steps)


def test_the_counter_sees_what_it_is_for():
    device, places = torch.zeros(3), torch.tensor([0, 2])
    with Waits() as waits:
        host, mask = torch.arange(3.0), device > 0
        host.sum().item(), host[host > 1], host.nonzero(), host.tolist()
        assert waits.found == []
        device.sum().item(), device.nonzero(), device.tolist(), bool(device.sum() > 0)
        device[mask], device.new_tensor([1.0]), host.to(device), host.to("cpu"), device[[0, 1]]
        torch.tensor([1.0], device="cpu"), places.unique(), float(device[0])
        found = [entry.split()[0] for entry in waits.found]
    assert found == [
        *("item", "nonzero", "tolist", "__bool__", "__getitem__", "new_tensor", "to", "to"),
        *("__getitem__", "tensor", "unique", "__float__"),
    ]
    with Waits() as waits:
        torch.ones(3) * device
    assert [entry.split()[0] for entry in waits.refused] == ["mul"]


def test_numbers_are_read_when_somebody_looks():
    pending = Pending()
    losses, shares = LateHistory(pending), LateHistory(pending, [0.25], [1])
    for n in range(3):
        pending.note(losses, torch.tensor(float(n)))
        pending.note(shares, torch.tensor(n, dtype=torch.float64))
    assert len(pending.entries) == 6
    assert losses.mean(2) == 1.5 and not pending.entries
    assert shares.data[0].tolist() == [0.25, 0.0, 1.0, 2.0] and shares.data[1].tolist() == [1] * 4
    losses.update(7.0)
    assert losses.current() == 7.0 and losses.max(2) == 7.0 and losses.min() == 0.0
    plain = HistoryBuffer([0.0, 1.0, 2.0, 7.0], [1] * 4)
    assert np.array_equal(losses.data, plain.data)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_pending_numbers_keep_their_digits(kind):
    pending, value = Pending(), torch.tensor(1 / 3, dtype=kind)
    series = LateHistory(pending)
    pending.note(series, value)
    pending.note(series, torch.tensor(2.0))
    assert series.data[0].tolist() == [value.item(), 2.0]
