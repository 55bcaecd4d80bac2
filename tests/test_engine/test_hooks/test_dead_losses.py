"""A loss without a gradient is told once, with its name, its step and the likely reason."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vtonlab.engine.hooks import DeadLossHook


class Toy(nn.Module):
    """Losses of each kind on one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.3, -0.2]))
        self.passes = 0
        self.attention_losses = {"late": SimpleNamespace(ramp=lambda step: float(step >= 40))}

    def forward(self, step: int, alive_from: int = 0) -> dict:
        sharp = (self.weight * 1e30).softmax(0) @ torch.tensor([1.0, 3.0])
        nothing = 0.0 * self.weight.sum()
        return {
            "loss_fine": self.weight.square().sum(),
            "loss_sharp": sharp + nothing,
            "loss_idle": nothing,
            "idle_active": torch.tensor(0.0),
            "loss_late": self.weight.sum() * float(step >= 40),
            "loss_waking": self.weight.sum() * float(step >= alive_from),
            "monitor": torch.tensor(1.0),
        }


def train(hook: DeadLossHook, steps: int, monkeypatch, model=None, **inputs) -> list[str]:
    printed: list[str] = []
    monkeypatch.setattr(
        "vtonlab.engine.hooks.dead_losses.print_log", lambda text, **_: printed.append(text)
    )
    model = model or Toy()
    runner = SimpleNamespace(bare_model=model, iter=0)
    hook.before_train(runner)
    for runner.iter in range(steps):
        hook.before_train_iter(runner, runner.iter)
        losses = model(runner.iter, **inputs)
        model.zero_grad()
        sum(v for k, v in losses.items() if "loss" in k).backward()
        alone = torch.autograd.grad(
            sum(v for k, v in model.forward(runner.iter, **inputs).items() if "loss" in k),
            model.weight,
        )[0]
        assert torch.equal(model.weight.grad, alone)  # looking leaves no trace
    hook.after_train(runner)
    return printed


def test_dead_losses_are_told_once_with_step_and_reason(monkeypatch):
    printed = train(DeadLossHook(), 200, monkeypatch)
    assert len(printed) == 2
    idle, sharp = sorted(printed)
    assert idle.startswith("loss_idle has taught nothing for 50 steps, up to step 50: no sample")
    assert sharp.startswith("loss_sharp has taught nothing for 50 steps, up to step 50: its value")
    assert "raise the temperature" in sharp


def test_a_loss_that_wakes_up_in_time_is_not_told(monkeypatch):
    assert not [t for t in train(DeadLossHook(), 120, monkeypatch, alive_from=49) if "waking" in t]
    told = [t for t in train(DeadLossHook(), 120, monkeypatch, alive_from=51) if "waking" in t]
    assert len(told) == 1 and "its value is 0" in told[0]


def test_a_loss_that_has_not_set_in_is_waited_for(monkeypatch):
    hook = DeadLossHook(patience=10)
    assert not [t for t in train(hook, 60, monkeypatch) if "late" in t]


def test_large_models_are_watched_by_their_active_share_alone(monkeypatch):
    printed = train(DeadLossHook(most_parameters=1), 60, monkeypatch)
    assert [text.split()[0] for text in printed] == ["loss_idle"]


def test_bad_settings():
    with pytest.raises(ValueError, match="patience=0"):
        DeadLossHook(patience=0)


def test_it_stands_in_every_training(tmp_path):
    from vtonlab.engine import finalize, load_config

    config = finalize(load_config("configs/gcl3d/warp_synthetic.py"), work_dir=str(tmp_path))
    assert config.default_hooks.dead_losses.type == "DeadLossHook"
