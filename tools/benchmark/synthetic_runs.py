"""What the synthetic benchmark does in programs of their own: one base or one row and seed each.

    python -c "from tools.benchmark.synthetic_runs import *; run_row('FOLDER', inf)"

A folder's ``job.json`` says what is asked; the program writes its answer beside it.
"""

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STOPPED = 143  # exit status of a training that SIGTERM ended after it had saved
PAIRED = ("l1_inside", "ssim_inside", "l1_cloth")  # noted for every pair


def train_base(folder: str) -> None:
    """Train a base, or go on training it."""
    from vtonlab.engine.checkpoints.files import find_latest
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.running.training import train

    job = read_job(folder)
    quick_arithmetic()
    config = finalize(load_config(job["config"], job["options"]), work_dir=folder, seed=0)
    if find_latest(Path(folder)) is not None:
        config.resume, config.load_from = True, None
    train(config)


def test_base(folder: str) -> None:
    """Score a base on a try-on, write its weights in float16, and find the block that it copies
    through: into ``base_<name>.json`` and ``.safetensors`` beside the folder.
    """
    from vtonlab.engine.checkpoints.files import find_latest, read_checkpoint
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.testing.run import test

    job, path = read_job(folder), Path(folder)
    quick_arithmetic()
    checkpoint = find_latest(path)
    if checkpoint is None:
        raise RuntimeError(f"{path.name} was stopped before its first step: give it more time")
    config = finalize(load_config(job["config"], job["options"]), work_dir=folder)
    metrics = test(config, str(checkpoint), path / "test")["metrics"]
    write_half(checkpoint, path.with_suffix(".safetensors"))
    found = {key: metrics[key] for key in metrics if key.startswith("attention_pck/")}
    facts = dict(
        seconds=seconds_of(path),
        iterations=read_checkpoint(checkpoint)["meta"]["iter"],
        checkpoint=str(checkpoint),
        aligned=max(found, key=lambda key: found[key]).split("/")[1],
        metrics=metrics,
    )
    write(path.with_suffix(".json"), facts)


def run_row(folder: str, stop_at: float) -> None:
    """Train one row with one seed until ``stop_at`` (seconds since the epoch), or take its job's
    ``weights``; test it, and write ``run.json``; what failed says why.
    """
    import torch

    from vtonlab.engine.cli import sentence

    torch.set_num_threads(1)
    quick_arithmetic()
    start, job = time.time(), read_job(folder)
    try:
        result = _run(job, Path(folder), stop_at)
    except Exception as error:
        result = {"failed": f"{type(error).__name__}: {sentence(error)}"}
    write(Path(folder) / "run.json", dict(job=job, seconds=time.time() - start) | result)


def _run(job: dict, folder: Path, stop_at: float) -> dict:
    import torch

    from vtonlab.engine.checkpoints.files import find_latest, read_checkpoint
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.testing.run import test
    from vtonlab.evaluation.results import read_results

    def config(split: str = job["splits"][0]):
        made = load_config(job["config"], job["options"])
        made.load_from = job["load_from"]
        made.val_dataloader = made.val_cfg = made.val_evaluator = None
        made.test_dataloader.dataset.split = split
        return finalize(made, work_dir=str(folder), seed=job["seed"])

    if job.get("weights"):
        checkpoint, seconds = Path(job["weights"]), None
    else:
        training = config()
        latest, start = find_latest(folder), time.time()
        done = 0 if latest is None else int(latest.stem.split("_")[1])
        if done < training.train_cfg.max_iters and time.time() < stop_at:
            if done:
                training.resume, training.load_from = True, None
            train_until(training, stop_at)
        seconds = None if done else time.time() - start  # of the part before a stop nobody knows
        checkpoint = find_latest(folder)
    if checkpoint is None:
        raise RuntimeError("stopped before its first step: give it more time")
    if job["ship"] and not job.get("weights"):
        weights = folder.parents[1] / "weights"
        weights.mkdir(exist_ok=True)
        write_half(checkpoint, weights / f"{folder.name}.safetensors")
    scores, steps = {}, {}
    for split in job["splits"]:
        out = folder / f"test_{split}"
        metrics = test(config(split), str(checkpoint), out)["metrics"]
        scores[split] = dict(metrics=metrics, pairs=pairs_of(read_results(out).rows))
    for number in job["steps"]:
        sampled = config()
        sampled.model.sampler.num_steps = number
        steps[number] = test(sampled, str(checkpoint), folder / f"steps_{number}")["metrics"]
    if job.get("weights"):
        return dict(scores=scores, steps=steps, torch=torch.__version__) | job["trained"]
    return dict(
        scores=scores,
        steps=steps,
        training_seconds=seconds,
        iterations=read_checkpoint(checkpoint)["meta"]["iter"],
        config_hash=config_hash(job),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        torch=torch.__version__,
    )


def train_until(config: Any, stop_at: float) -> None:
    """Train; at ``stop_at`` the training saves what it has and is left."""
    from vtonlab.engine.running.training import train

    timer = threading.Timer(
        min(stop_at - time.time(), threading.TIMEOUT_MAX), os.kill, (os.getpid(), signal.SIGTERM)
    )
    timer.daemon = True
    timer.start()
    try:
        train(config)
    except SystemExit as stopped:
        if stopped.code != STOPPED or time.time() < stop_at:
            raise
    finally:
        timer.cancel()


def pairs_of(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Metric -> pair -> score of a results folder's rows."""
    return {
        name: {str(row["id"]): float(row[name]) for row in rows if row.get(name) is not None}
        for name in PAIRED
    }


def config_hash(job: Mapping[str, Any]) -> str:
    """Of the config with its options, wherever and on which split of people it is run."""
    from vtonlab.engine.config.load import load_config

    config = load_config(job["config"], job["options"])
    config.test_dataloader.dataset.split = config.work_dir = config.load_from = None
    return hashlib.sha256(config.pretty_text.encode()).hexdigest()[:12]


# What they share ----------------------------------------------------------------------------------


def read_job(folder: str) -> dict:
    """What a folder's program is asked to do."""
    return json.loads((Path(folder) / "job.json").read_text(encoding="utf-8"))


def write(path: Path, facts: dict) -> None:
    """JSON that is whole or not there."""
    from vtonlab.engine.checkpoints.files import write_text

    write_text(path, json.dumps(facts, indent=1, default=float) + "\n")


def quick_arithmetic() -> None:
    """TF32 matrix products where there is a GPU that has them."""
    import torch

    torch.set_float32_matmul_precision("high")


def seconds_of(folder: Path) -> float | None:
    """What the last iterations of a training took each, as it logged them."""
    for file in sorted(folder.glob("*/vis_data/scalars.json"), reverse=True):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        times = [row["time"] for row in rows if "loss" in row and "time" in row]
        if times:
            return times[-1]
    return None


def write_half(checkpoint: Path, path: Path) -> None:
    """A checkpoint's (averaged) weights as float16 safetensors."""
    from vtonlab.engine.checkpoints.files import read_checkpoint, save_safetensors

    found = read_checkpoint(checkpoint)
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in found["state_dict"].items()
    }
    facts = {"facts": found["meta"]["facts"], "iter": found["meta"]["iter"]}
    facts |= {"samples_per_iter": found["meta"].get("samples_per_iter")}
    save_safetensors(half, path, facts | {"averaged": "ema_state_dict" in found})


def draw_some(part: tuple[dict, list[int]]) -> None:
    """Render some samples of a data set into its cache."""
    import torch

    from vtonlab.registry import DATASETS

    torch.set_num_threads(1)
    dataset = DATASETS.build(part[0])
    for index in part[1]:
        dataset[index]
