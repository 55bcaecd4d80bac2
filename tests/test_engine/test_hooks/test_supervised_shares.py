"""The line before training that says what share of samples each attention loss supervises."""

from types import SimpleNamespace

import pytest
import torch

from vtonlab.engine.hooks.supervised_shares import SupervisedShareHook, supervised_shares
from vtonlab.losses import AttentionEntropyLoss, CorrespondenceDistillationLoss
from vtonlab.noise_schedules import FlowMatchingSchedule


def model(t_max, dropout=0.0, parts=None):
    return SimpleNamespace(
        noise_schedule=FlowMatchingSchedule(density="logit_normal", shift=3.0),
        conditioner=SimpleNamespace(
            withheld=lambda dropped: dropped,
            dropouts=parts or {},
            withholds_garment=lambda dropped: dropped.get("garment"),
        ),
        condition_dropout=dropout,
        attention_losses=dict(
            correspondence=CorrespondenceDistillationLoss(t_max=t_max),
            entropy=AttentionEntropyLoss(t_max=None),
        ),
    )


def test_shares_are_those_of_the_density():
    """P(sigma < g) of a logit-normal density: Phi(logit(s)), with s the level before the shift."""
    for gate in (0.5, 0.617):
        before = torch.tensor(gate / (3 - 2 * gate))
        expected = float(torch.special.ndtr(torch.logit(before)))
        found = supervised_shares(model(1000 * gate))
        assert found["correspondence"] == pytest.approx(expected, abs=0.02)  # 3 deviations of 4096
        assert found["entropy"] == 1
    assert 0.25 < expected < 0.28
    assert supervised_shares(model(500, dropout=0.25))["entropy"] == 0.75
    assert supervised_shares(model(500, parts=dict(text=0.5)))["entropy"] == 1
    partly = supervised_shares(model(500, parts=dict(garment=0.5)))["entropy"]
    assert partly == pytest.approx(0.5, abs=0.025)  # 3 deviations of 4096
    assert supervised_shares(SimpleNamespace()) == {}


def test_little_is_warned_about(monkeypatch):
    said = []
    monkeypatch.setattr(
        "vtonlab.engine.hooks.supervised_shares.print_log",
        lambda text, logger, level=20: said.append((level, text)),
    )
    SupervisedShareHook().before_train(SimpleNamespace(bare_model=model(100)))
    (level, text), (other, entropy) = said
    assert level == 30 and "below t_max=100: less than 5%; raise t_max" in text
    assert other == 20 and entropy.endswith(
        "100.0% of the training samples, those at all noise levels"
    )
