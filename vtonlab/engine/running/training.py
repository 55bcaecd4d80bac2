"""The ways a training goes: in full, or a dry run of one step."""

import math
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch import nn

from vtonlab.datasets.samplers import SampleKey
from vtonlab.engine.checkpoints.files import find_problem
from vtonlab.engine.config.check import check_config
from vtonlab.engine.config.load import optim_wrappers
from vtonlab.engine.hooks import SampleTraceHook, SaveOnSignalHook
from vtonlab.engine.parallel.processes import WorkDirLock
from vtonlab.engine.running.optimizers import NonFiniteError
from vtonlab.engine.running.runner import SafeRunner, build_runner
from vtonlab.registry import DATASETS


def train(config: Config) -> SafeRunner:
    """Train as a finished config says; returns the runner.

    Raises:
        ValueError, FileNotFoundError: bad input, in one sentence.
        NonFiniteError: naming iteration, loss parts and sample ids.
    """
    check_config(config)
    if not _is_first_process():
        return _train(config)
    with WorkDirLock(config.work_dir):
        return _train(config)


def _is_first_process() -> bool:
    import os

    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def check_data(config: Config, *loaders: str) -> dict[str, dict]:
    """Build the data sets of ``loaders``; each looks at its files and gives one sample.

    This comes before any model is built.

    Returns:
        The sample of each loader, for `check_samples`.

    Raises:
        ValueError, FileNotFoundError: what is missing or damaged, in one sentence.
    """
    samples = {}
    for loader in loaders:
        if config.get(loader):
            dataset = DATASETS.build(config[loader].dataset.to_dict())
            verify = getattr(dataset, "verify", None)  # data sets read from files have it
            if verify is not None and _is_first_process():
                print_log(f"{loader}: {verify()}", logger="current")
            samples[loader] = dataset[SampleKey(0, 0)]
    return samples


def check_samples(model: nn.Module, samples: Mapping[str, dict]) -> None:
    """Whether one sample of each loader holds the maps that ``model`` needs.

    Raises:
        ValueError: it lacks one, by name.
    """
    check = getattr(model, "check_sample", None)  # models that are shown maps have it
    for loader, sample in samples.items() if check is not None else ():
        check(sample, where=f"{loader}: ")


def _train(config: Config) -> SafeRunner:
    samples = check_data(config, "train_dataloader", "val_dataloader")
    runner = build_runner(config)
    check_samples(runner.bare_model, samples)
    try:
        runner.train()
    except NonFiniteError as error:
        places = [hook.describe() for hook in runner.hooks if isinstance(hook, SampleTraceHook)]
        where = places[0] if places else f"iteration {runner.iter + 1}"
        raise NonFiniteError(f"training stopped at {where}: {error}") from error
    finally:
        for hook in runner.hooks:
            if isinstance(hook, SaveOnSignalHook):
                hook.after_train(runner)  # an exception must not leave the signals taken
    return runner


def dry_run(config: Config) -> dict[str, Any]:
    """Build all, train one optimiser step, save and verify a checkpoint, in a scratch folder.

    Returns:
        ``seconds``, ``peak_bytes`` of memory, ``checkpoint_bytes`` and ``parameters``.
    """
    check_config(config)
    with tempfile.TemporaryDirectory(prefix="vtonlab-dry-") as scratch:
        config.work_dir = scratch
        parts = [part for _, part in optim_wrappers(config)]
        counts = math.lcm(*(part.get("accumulative_counts", 1) for part in parts))
        config.train_cfg.max_iters = counts
        config.load_from, config.resume = config.get("load_from"), False
        config.default_hooks.checkpoint.interval = -1
        start = time.perf_counter()
        runner = _train(config)
        saved = Path(scratch) / f"iter_{runner.iter}.pth"
        problem = find_problem(saved) if is_main_process() else None
        if problem:
            raise ValueError(f"the pretend checkpoint is not valid: {problem}")
        parameters = list(runner.bare_model.parameters())
        return {
            "seconds": time.perf_counter() - start,
            "peak_bytes": _peak_bytes(),
            "checkpoint_bytes": saved.stat().st_size if saved.is_file() else 0,
            "parameters": sum(p.numel() for p in parameters),
            "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        }


def _peak_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
