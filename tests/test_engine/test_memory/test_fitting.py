"""The recomputation that a card asks for, by the estimate."""

import sys
from pathlib import Path

import pytest

from vtonlab.backbones.recomputation import LADDER
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.memory import fitting
from vtonlab.engine.memory.estimate import GIB, report
from vtonlab.engine.memory.fitting import choose_recomputation

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def config():
    config = load_config(ROOT / "configs/coral/dit_synthetic.py")
    config.train_dataloader.batch_size = 64
    return finalize(config, work_dir="unused")


@pytest.mark.slow
def test_the_least_recomputation_that_fits(config):
    first, most = choose_recomputation(config, 1000 * GIB)
    last, least = choose_recomputation(config, 1)
    assert first is False and last is True and most["total"] > 1.2 * least["total"]
    assert report(most, 1000 * GIB)[1] and not report(least, 1)[1]
    between = int((most["total"] + least["total"]) / 2 / 0.94)
    chosen, parts = choose_recomputation(config, between)
    assert chosen in LADDER[1:-1] and report(parts, between)[1]
    slower = LADDER[LADDER.index(chosen) + 1]
    assert slower is not False
    assert config.model.get("gradient_checkpointing", False) is False  # the caller's to set


@pytest.mark.slow
def test_compiled_blocks_keep_no_attention_apart(config):
    config.model.compile = True
    try:
        _, most = choose_recomputation(config, 1000 * GIB)
        _, least = choose_recomputation(config, 1)
        chosen, _ = choose_recomputation(config, int((most["total"] + least["total"]) / 2 / 0.94))
    finally:
        config.model.pop("compile")
    assert chosen in (dict(every=4), dict(every=2))


def test_sizes_of_cards_are_read(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from tools.train import parse_args

    name = "coral/dit_synthetic"
    for text in ("80", "80GB", "80gib", "80 GB"):
        assert parse_args([name, "--fit", text]).fit == 80.0
    with pytest.raises(SystemExit):
        parse_args([name, "--fit", "large"])


@pytest.mark.parametrize("compiled", [False, True])
def test_whatever_the_card_the_first_step_that_fits_is_found(config, monkeypatch, compiled):
    """Sizes made up, one for each step of the ladder."""
    sizes = [100 - 10 * place for place in range(len(LADDER))]

    def estimate(tried, device, gpus):
        return {"total": sizes[LADDER.index(tried.model.gradient_checkpointing)]}

    monkeypatch.setattr(fitting, "estimate_memory", estimate)
    if compiled:
        monkeypatch.setitem(config.model, "compile", True)
    allowed = [s for s in LADDER if not (compiled and isinstance(s, dict) and len(s) > 1)]
    allowed = [s for s in allowed if not (compiled and s == dict(keep_attention=True))]
    for available in range(30, 120, 3):
        chosen, parts = choose_recomputation(config, available)
        fitting_ones = [s for s in allowed if sizes[LADDER.index(s)] <= 0.94 * available]
        assert chosen == (fitting_ones or [True])[0]
        assert parts["total"] == sizes[LADDER.index(chosen)]
