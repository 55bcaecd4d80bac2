"""The loss-share report of the first iterations."""

from types import SimpleNamespace

import torch

from vtonlab.engine.hooks import LossShareHook
from vtonlab.losses import AttentionEntropyLoss


def run(hook, steps):
    for number, losses in enumerate(steps):
        outputs = {name: torch.tensor(value) for name, value in losses.items()}
        hook.after_train_iter(None, number, outputs=outputs)


def test_shares_by_hand():
    hook = LossShareHook(iterations=2)
    run(hook, [dict(loss=9.0, loss_diffusion=0.6, loss_correspondence=0.2, loss_entropy=0.0)] * 2)
    lines = hook.report().splitlines()
    assert lines[0] == "losses at their whole weight, mean of iterations 1 to 2:"
    assert lines[1] == "  loss_diffusion: 0.6, 75.0% of the sum"
    assert "0.2, 25.0% of the sum, 33.3% of loss_diffusion (5% to 10%" in lines[2]
    assert lines[2].endswith("multiply its weight by 0.23)")
    assert lines[3] == "  loss_entropy: 0, 0.0% of the sum, 0.0% of loss_diffusion"


def test_printed_once_and_nothing_is_counted_after_it(monkeypatch):
    printed = []
    monkeypatch.setattr(
        "vtonlab.engine.hooks.loss_shares.print_log", lambda text, **_: printed.append(text)
    )
    hook = LossShareHook(iterations=2)
    run(hook, [dict(loss_diffusion=1.0, loss_flow=0.07)] * 5)
    assert len(printed) == 1 and "usual" not in printed[0]
    assert hook.seen == 2 and float(hook.sums["loss_diffusion"]) == 2.0


def test_a_loss_that_sets_in_counts_as_with_its_whole_weight():
    """Resumed at the start of a warm-up: 4, 3, 2 and 1 fourths of 0.08 are missing in turn."""
    losses = torch.nn.ModuleDict(dict(entropy=AttentionEntropyLoss(start_iter=101, warmup_iters=4)))
    runner = SimpleNamespace(bare_model=SimpleNamespace(attention_losses=losses))
    hook = LossShareHook(iterations=4)
    for step in range(100, 104):
        outputs = dict(loss_diffusion=1.0, loss_entropy=0.08 * losses["entropy"].ramp(step))
        outputs = {name: torch.tensor(value) for name, value in outputs.items()}
        hook.after_train_iter(runner, step, outputs=outputs)
    head, _, line = hook.report().splitlines()
    assert head.endswith("mean of iterations 101 to 104:")
    assert "0.08, 7.4% of the sum, 8.0% of loss_diffusion" in line and "usual" not in line
