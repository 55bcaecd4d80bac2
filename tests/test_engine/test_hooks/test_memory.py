"""The measured peak beside the estimate, in a training run's log."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from vtonlab.engine.hooks import MemoryReportHook
from vtonlab.engine.hooks import memory as module

needs_proc = pytest.mark.skipif(
    torch.cuda.is_available() or not module._RESET.exists(), reason="reads Linux's /proc, on a CPU"
)
MIB = 2**20


@pytest.fixture
def lines(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(module, "print_log", lambda text, **_: lines.append(text))
    return lines


def runner_of(model: nn.Module, **config):
    return SimpleNamespace(cfg=Config(dict(model=dict(type="Toy"), **config)), bare_model=model)


@needs_proc
def test_the_peak_is_what_the_process_grew_by(lines, monkeypatch):
    expected = dict(total=300 * MIB)
    monkeypatch.setattr(module, "estimate_memory", lambda *arguments: expected)
    model = nn.Linear(2048, 4096, bias=False)  # 32 MiB
    model.weight.data.fill_(1.0)  # or its pages do not exist yet
    hook = MemoryReportHook(iterations=2)
    hook.before_train(runner_of(model))
    kept = torch.ones(64 * MIB)  # 256 MiB in each iteration
    for step in range(3):
        hook.after_train_iter(None, step)
    del kept
    hook.after_train(None)
    assert hook.measured == pytest.approx((256 + 32) * MIB, abs=24 * MIB)
    assert [line.split(":")[0] for line in lines] == [
        "memory expected at the peak",
        "memory measured, peak so far",
        "memory measured, peak of the whole run",
    ]
    assert "expected 0.293 GiB, ratio 0.9" in lines[-1] or "ratio 1.0" in lines[-1]


def test_a_model_without_an_estimate_is_measured_all_the_same(lines):
    hook = MemoryReportHook(iterations=1)
    hook.before_train(runner_of(nn.Linear(2, 2)))
    hook.after_train_iter(None, 0)
    assert hook.expected is None
    assert "no estimate (--estimate knows TryOnDiffusion" in lines[0]
    assert all("ratio" not in line for line in lines)
