"""The loss-share report of the first iterations."""

import torch

from vtonlab.engine.hooks import LossShareHook


def run(hook, steps):
    for number, losses in enumerate(steps):
        outputs = {name: torch.tensor(value) for name, value in losses.items()}
        hook.after_train_iter(None, number, outputs=outputs)


def test_shares_by_hand():
    hook = LossShareHook(iterations=2)
    run(hook, [dict(loss=9.0, loss_diffusion=0.6, loss_correspondence=0.2, loss_entropy=0.0)] * 2)
    lines = hook.report().splitlines()
    assert lines[0] == "losses, mean of the first 2 iterations:"
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
