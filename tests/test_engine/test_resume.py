"""A resumed run equals an undisturbed one to the bit (RELIABILITY.md R1, R2, R4, R8 to R11)."""

import copy
from pathlib import Path

import pytest
import torch
import toy

from vtonlab.engine import build_runner
from vtonlab.engine.checkpoint import find_latest
from vtonlab.engine.training import train

EMA = dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.05)


def run(config, name: str, **changes):
    """Train a copy of ``config`` in its own folder; returns its runner and last checkpoint."""
    config = copy.deepcopy(config)
    config.work_dir = str(Path(config.work_dir) / name)
    for key, value in changes.items():
        config[key] = value
    runner = train(config)
    last = torch.load(Path(config.work_dir) / f"iter_{runner.iter}.pth", weights_only=True)
    return runner, last


def differing(a, b, path="") -> list[str]:
    """Paths at which two checkpoints differ; metadata of time and names aside."""
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        return [d for k in a for d in differing(a[k], b[k], f"{path}.{k}")]
    if isinstance(a, list):
        return [
            d
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for d in differing(x, y, f"{path}.{i}")
        ]
    return [] if a == b else [path]


STATE = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers")


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_exact_with_ema_and_accumulation(toy_config, workers):
    toy_config.custom_hooks = [EMA]
    toy_config.optim_wrapper.accumulative_counts = 2
    toy_config.optim_wrapper.clip_grad = dict(max_norm=1.0)
    toy_config.train_dataloader.num_workers = workers
    _, whole = run(toy_config, "whole")
    first = str(Path(toy_config.work_dir) / "whole/iter_10.pth")
    _, second = run(toy_config, "second", resume=True, load_from=first)
    assert [d for key in STATE for d in differing(whole[key], second[key], key)] == []


def test_bits_do_not_depend_on_the_number_of_workers(toy_config):
    results = []
    for workers in (0, 1, 2):
        toy_config.train_dataloader.num_workers = workers
        results.append(run(toy_config, f"w{workers}")[1])
    for other in results[1:]:
        assert [
            d for k in ("state_dict", "optimizer") for d in differing(results[0][k], other[k])
        ] == []


def test_resume_decodes_no_past_sample(toy_config):
    run(toy_config, "a")
    first = str(Path(toy_config.work_dir) / "a/iter_10.pth")
    runner, _ = run(toy_config, "b", resume=True, load_from=first)
    assert runner.train_dataloader.dataset.decoded == 10 * 4
    whole = build_order(toy_config, 20)
    assert runner.bare_model.seen == whole[10 * 4 :]
    assert runner.bare_model.steps == list(range(10, 20))


def build_order(config, iterations: int) -> list[str]:
    from vtonlab.datasets import ResumableSampler

    sampler = ResumableSampler(toy.ToyDataset(), seed=config.randomness.seed)
    keys = iter(sampler)
    return [f"item{next(keys).index}" for _ in range(4 * iterations)]


def test_automatic_resume_passes_over_damage(toy_config):
    _, whole = run(toy_config, "run")
    folder = Path(toy_config.work_dir) / "run"
    newest = folder / "iter_20.pth"
    newest.write_bytes(newest.read_bytes()[:-100])
    (folder / "last_checkpoint").write_text(str(folder / "iter_9999.pth"))
    passed_over: list[str] = []
    assert find_latest(folder, passed_over.append) == folder / "iter_10.pth"
    assert "iter_20.pth" in passed_over[0]
    runner, again = run(toy_config, "run", resume=True)
    assert runner.train_dataloader.dataset.decoded == 10 * 4
    assert [d for k in ("state_dict", "optimizer") for d in differing(whole[k], again[k])] == []


def test_a_changed_config_is_shown_on_resume(toy_config, caplog):
    run(toy_config, "a")
    first = str(Path(toy_config.work_dir) / "a/iter_10.pth")
    toy_config.optim_wrapper.optimizer.lr = 0.25
    config = copy.deepcopy(toy_config)
    config.update(work_dir=toy_config.work_dir + "/b", resume=True, load_from=first)
    runner = build_runner(config)
    seen = []
    runner.logger.warning = lambda text, *a, **k: seen.append(str(text))
    runner.train()
    text = "\n".join(seen)
    assert "lr=0.25" in text and "lr=0.001" in text and "continue as saved" in text
    assert runner.optim_wrapper.get_lr()["lr"][0] < 1e-3  # the checkpoint's, as the warning says


def test_another_batch_size_is_refused(toy_config):
    run(toy_config, "a")
    first = str(Path(toy_config.work_dir) / "a/iter_10.pth")
    toy_config.train_dataloader.batch_size = 3
    with pytest.raises(ValueError, match=r"4 samples per iteration.*this run has 3"):
        run(toy_config, "b", resume=True, load_from=first)


def test_interval_must_fit_the_accumulation(toy_config):
    toy_config.optim_wrapper.accumulative_counts = 4
    with pytest.raises(ValueError, match=r"interval 10 is no multiple of accumulative_counts 4"):
        run(toy_config, "a")


def test_nothing_to_resume_starts_anew(toy_config):
    runner, _ = run(toy_config, "a", resume=True)
    assert runner.train_dataloader.dataset.decoded == 20 * 4


def test_a_sampler_that_cannot_skip_is_refused(toy_config):
    toy_config.train_dataloader.sampler = dict(type="InfiniteSampler")
    with pytest.raises(ValueError, match="InfiniteSampler cannot skip"):
        run(toy_config, "a")
