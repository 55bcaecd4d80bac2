"""A resumed run equals an undisturbed one to the bit (R1, R2, R4, R8, R9, R10, R11, R16)."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
import toy
from reliability.compare import differing, differing_logs, logged

from vtonlab.engine import build_runner
from vtonlab.engine.checkpoints.files import find_latest, read_checkpoint
from vtonlab.engine.running.training import train

EMA = dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.05)


def run(config, name: str, **changes):
    """Train a copy of ``config`` in its own folder; returns its runner and last checkpoint."""
    config = copy.deepcopy(config)
    config.work_dir = str(Path(config.work_dir) / name)
    for key, value in changes.items():
        config[key] = value
    runner = train(config)
    return runner, read_checkpoint(Path(config.work_dir) / f"iter_{runner.iter}.pth")


def first_half(config, name: str) -> str:
    return str(Path(config.work_dir) / name / "iter_10.pth")


def resumed(config, name: str):
    """Train, then resume from the middle in another folder; both last checkpoints."""
    _, whole = run(config, name)
    half = dict(resume=True, load_from=first_half(config, name))
    return whole, run(config, f"{name}_second", **half)[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_r1_r9_r10_resume_is_exact_with_ema_and_accumulation(toy_config, workers):
    toy_config.custom_hooks = [EMA]
    toy_config.optim_wrapper.accumulative_counts = 2
    toy_config.optim_wrapper.clip_grad = dict(max_norm=1.0)
    toy_config.train_dataloader.num_workers = workers
    whole, second = resumed(toy_config, "whole")
    assert "ema_state_dict" in whole and differing(whole, second) == []


def test_r1_bits_do_not_depend_on_the_number_of_workers(toy_config):
    results = []
    for workers in (0, 1, 2):
        toy_config.train_dataloader.num_workers = workers
        results.append(run(toy_config, f"w{workers}")[1])
    assert differing(results[0], results[1]) == differing(results[0], results[2]) == []


def two_optimizers(config, **changes):
    config.model = dict(type="ToyAdversary")
    config.optim_wrapper = copy.deepcopy(toy.TWO_OPTIMIZERS)
    for part in ("generator", "discriminator"):
        config.optim_wrapper[part].update(changes)
    schedule = dict(type="CosineAnnealingLR", by_epoch=False, T_max=100)
    config.param_scheduler = dict(generator=[schedule], discriminator=[dict(schedule, T_max=50)])
    for key in ("test_dataloader", "test_cfg", "test_evaluator"):
        config.pop(key)
    config.custom_hooks = [EMA]
    return config


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("changes", [{}, dict(accumulative_counts=2)])
def test_r1_resume_is_exact_with_two_optimizers(toy_config, workers, changes):
    toy_config.train_dataloader.num_workers = workers
    whole, second = resumed(two_optimizers(toy_config, **changes), "whole")
    assert set(whole["optimizer"]) == {"generator", "discriminator"}
    steps = whole["optimizer"]["discriminator"]["state"][0]["step"]
    assert int(steps) == 20 // changes.get("accumulative_counts", 1)
    assert differing(whole, second) == []
    names = {name for _, name in logged(Path(toy_config.work_dir) / "whole")}
    assert {"loss_d", "loss_g", "generator.grad_norm", "discriminator.grad_norm"} <= names


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_r1_resume_is_exact_in_half_precision(toy_config, dtype):
    toy_config.optim_wrapper.update(type="AutocastOptimWrapper", dtype=dtype)
    whole, second = resumed(toy_config, "whole")
    assert differing(whole, second) == []
    if dtype == "float16":
        assert whole["optimizer"]["loss_scaler"]["scale"] < 65536.0  # some steps overflowed


def test_logs_are_smoothed_as_if_never_stopped(toy_config):
    toy_config.log_processor.window_size = 15
    whole, _ = resumed(toy_config, "whole")
    calm, disturbed = (Path(toy_config.work_dir) / name for name in ("whole", "whole_second"))
    shutil.copytree(calm, disturbed / "before", dirs_exist_ok=True)
    second = {key: value for key, value in logged(disturbed).items() if key[0] > 10}
    assert second and all(logged(calm)[key] == value for key, value in second.items())
    assert max(len(v[0]) for v in whole["message_hub"]["recent_scalars"].values()) <= 15
    assert differing_logs(calm, calm) == []


def test_r2_resume_decodes_no_past_sample(toy_config):
    run(toy_config, "a")
    half = dict(resume=True, load_from=first_half(toy_config, "a"))
    runner, _ = run(toy_config, "b", **half)
    assert runner.train_dataloader.dataset.decoded == 10 * 4
    whole = build_order(toy_config, 20)
    assert runner.bare_model.seen == whole[10 * 4 :]
    assert runner.bare_model.steps == list(range(10, 20))


def build_order(config, iterations: int) -> list[str]:
    from vtonlab.datasets import ResumableSampler

    sampler = ResumableSampler(toy.ToyDataset(), seed=config.randomness.seed)
    keys = iter(sampler)
    return [f"item{next(keys).index}" for _ in range(4 * iterations)]


def test_r4_automatic_resume_passes_over_damage(toy_config):
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
    assert differing(whole, again) == []


def test_r8_a_changed_config_is_shown_on_resume(toy_config):
    run(toy_config, "a")
    toy_config.optim_wrapper.optimizer.lr = 0.25
    config = copy.deepcopy(toy_config)
    config.update(work_dir=toy_config.work_dir + "/b", resume=True)
    config.load_from = first_half(toy_config, "a")
    runner = build_runner(config)
    seen = []
    runner.logger.warning = lambda text, *a, **k: seen.append(str(text))
    runner.train()
    text = "\n".join(seen)
    assert "lr=0.25" in text and "lr=0.001" in text and "continue as saved" in text
    assert runner.optim_wrapper.get_lr()["lr"][0] < 1e-3  # the checkpoint's, as the warning says


def test_r11_another_batch_size_is_refused(toy_config):
    run(toy_config, "a")
    toy_config.train_dataloader.batch_size = 3
    half = dict(resume=True, load_from=first_half(toy_config, "a"))
    with pytest.raises(ValueError, match=r"4 samples per iteration.*this run has 3"):
        run(toy_config, "b", **half)


def test_r9_the_interval_must_fit_the_accumulation(toy_config):
    toy_config.optim_wrapper.accumulative_counts = 4
    with pytest.raises(ValueError, match=r"interval 10 is no multiple of accumulative_counts 4"):
        run(toy_config, "a")


def test_r9_with_several_optimizers_the_interval_must_fit_each(toy_config):
    config = two_optimizers(toy_config)
    config.optim_wrapper.generator.accumulative_counts = 4
    config.optim_wrapper.discriminator.accumulative_counts = 6
    with pytest.raises(ValueError, match="accumulative_counts 12"):
        run(config, "a")


def test_nothing_to_resume_starts_anew(toy_config):
    runner, _ = run(toy_config, "a", resume=True)
    assert runner.train_dataloader.dataset.decoded == 20 * 4


def test_a_sampler_that_cannot_skip_is_refused(toy_config):
    toy_config.train_dataloader.sampler = dict(type="InfiniteSampler")
    with pytest.raises(ValueError, match="InfiniteSampler cannot skip"):
        run(toy_config, "a")


def test_r16_noise_of_samples_differs_between_epochs_and_not_between_worker_counts(toy_config):
    """Three epochs of the loader: what is drawn for one item never repeats."""
    drawn = []
    for workers in (0, 1, 2):
        runner = build_runner(toy_config)
        loader = copy.deepcopy(toy_config.train_dataloader)
        loader.update(num_workers=workers, batch_size=10)
        batches = iter(runner.build_dataloader(loader, seed=0))
        rows = [row for _ in range(9) for row in zip(*_ids_and_noise(next(batches)), strict=True)]
        drawn.append(rows)
    assert drawn[0] == drawn[1] == drawn[2]
    noises = [noise for name, noise in drawn[0] if name == "item3"]
    assert len(noises) == 3 and len(set(noises)) == 3


def _ids_and_noise(batch: dict) -> tuple[list[str], list[float]]:
    return list(batch["id"]), [float(x) for x in torch.as_tensor(batch["x"])[:, 0]]


def test_a_validation_due_where_a_run_resumes_is_repeated(toy_config):
    """Between the checkpoint and its validation the run may have been killed."""
    toy_config.update(
        val_dataloader=toy_config.test_dataloader,
        val_cfg=dict(),
        val_evaluator=dict(type="ToyMetric"),
    )
    toy_config.train_cfg.val_interval = 10
    resumed(toy_config, "whole")
    calm, second = (logged(Path(toy_config.work_dir) / n) for n in ("whole", "whole_second"))
    assert second[10, "l1"] == calm[10, "l1"] and second[20, "l1"] == calm[20, "l1"]
