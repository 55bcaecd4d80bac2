"""The ways a training goes: in full, or a dry run of one step."""

import copy
import logging
import math
import os
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
from torch.utils.data import Dataset

from vtonlab.datasets.samplers import SampleKey
from vtonlab.engine.checkpoints.files import find_problem, is_checkpoint
from vtonlab.engine.config.agreement import check_agreement
from vtonlab.engine.config.check import check_config
from vtonlab.engine.config.load import LOADERS, optim_wrappers
from vtonlab.engine.config.naming import naming_keys
from vtonlab.engine.hooks import SampleTraceHook, SaveOnSignalHook
from vtonlab.engine.running.optimizers import NonFiniteError
from vtonlab.engine.running.runner import SafeRunner, build_runner
from vtonlab.registry import DATASETS, METRICS
from vtonlab.structures.sample import GARMENT_MAPS
from vtonlab.utils.locking import WorkDirLock

OF_DATA = ("flow", "mask", *GARMENT_MAPS, "worn_mask", "agnostic", "pose")
MOST_WORKERS = 16  # a core, of a loader


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
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def check_data(config: Config, *loaders: str) -> tuple[dict[str, dict], dict[str, str]]:
    """Build the data sets of ``loaders``; each looks at its files and gives one sample.

    This comes before any model is built.

    Returns:
        The sample of each loader, for `check_samples`, and a sentence about its data set.

    Raises:
        ValueError, FileNotFoundError: what is missing or damaged, in one sentence.
    """
    samples, notes = {}, {}
    for loader in loaders:
        if config.get(loader):
            dataset = DATASETS.build(config[loader].dataset.to_dict())
            verify = getattr(dataset, "verify", None)  # data sets read from files have it
            found = verify() if verify is not None and _is_first_process() else ""
            notes[loader] = data_note(loader, dataset, found)
            samples[loader] = dataset[SampleKey(0, 0)]
            if loader == "train_dataloader":
                check_batch(config, samples[loader])
    return samples, notes


def data_note(loader: str, dataset: Dataset, found: str) -> str:
    """What a loader reads, and what its files were found to be."""
    use = loader.removesuffix("_dataloader")
    text = f"{use}: {len(dataset)} samples of {type(dataset).__name__}"
    return f"{text}: {found}" if found else text


def check_samples(model: nn.Module, samples: Mapping[str, dict]) -> None:
    """Whether one sample of each loader holds the maps that ``model`` needs.

    Raises:
        ValueError: it lacks one, by name.
    """
    check = getattr(model, "check_sample", None)  # models that are shown maps have it
    for loader, sample in samples.items() if check is not None else ():
        check(sample, where=f"{loader}: ")


def check_test_data(config: Config, runner: SafeRunner) -> None:
    """Build the test data set, its loader and metrics, so that a wrong setting is not found after
    days of training. What is not there yet (files, optional packages) is said, no error.

    Raises:
        ValueError: a setting that one of them refuses.
    """
    if not config.get("test_dataloader") or not _is_first_process():
        return
    try:
        loader = runner.build_dataloader(copy.deepcopy(config.test_dataloader), seed=0)
        sample = loader.dataset[SampleKey(0, 0)]
        metrics = config.get("test_evaluator") or []
        for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
            needs = getattr(METRICS.build(metric), "needs", ())
            lacking = [key for key in needs if key in OF_DATA and key not in sample]
            if lacking:
                print_log(
                    f"testing would fail: {metric['type']} needs {' and '.join(lacking)}, which "
                    f"test_dataloader.dataset does not give (maps)",
                    logger="current",
                    level=logging.WARNING,
                )
    except (OSError, ImportError) as error:
        print_log(f"testing would fail: {error}", logger="current", level=logging.WARNING)


def check_batch(config: Config, sample: dict) -> None:
    """Refuse a training batch that the machine's memory could not even hold as pictures.

    Raises:
        ValueError: naming the loader's keys.
    """
    loader = config.train_dataloader
    count = loader.get("batch_size", 1)
    arrays = (value for value in sample.values() if hasattr(value, "nbytes"))
    needed = sum(value.nbytes for value in arrays) * count
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ValueError(
            f"train_dataloader.batch_size={count}: a batch of these pictures takes "
            f"{needed / 2**30:.1f} GiB and the machine has {memory / 2**30:.1f}"
        )


def check_workers(config: Config) -> None:
    """Refuse loaders with more workers than the machine's cores can use.

    Raises:
        ValueError: naming the loader's key.
    """
    for name in LOADERS:
        workers = (config.get(name) or {}).get("num_workers", 0)
        if workers > MOST_WORKERS * (os.cpu_count() or 1):
            raise ValueError(
                f"{name}.num_workers={workers}: this machine has {os.cpu_count()} cores, more than "
                f"{MOST_WORKERS} workers each only wait for one another"
            )


def check_not_empty(model: nn.Module) -> None:
    """Refuse a network with a layer of width 0, which torch builds and cannot run.

    Raises:
        ValueError: naming the first such part.
    """
    for name, parameter in model.named_parameters():
        if 0 in parameter.shape:
            raise ValueError(
                f"model.{name.rpartition('.')[0]} has a parameter of shape "
                f"{tuple(parameter.shape)}: some width of this network is 0"
            )


def prepare(config: Config) -> SafeRunner:
    """All that a training checks before its model, data and optimiser start to work together.

    Raises:
        ValueError, FileNotFoundError: bad input, in one sentence that names its key.
    """
    check_config(config)
    load_from = config.get("load_from")
    if load_from and not is_checkpoint(load_from):
        raise FileNotFoundError(f"load_from: no checkpoint at {load_from}")
    check_workers(config)
    check_agreement(config)
    with naming_keys(config):
        samples, notes = check_data(config, "train_dataloader", "val_dataloader")
        runner = build_runner(config)
        runner.data_notes = notes
        check_not_empty(runner.bare_model)
        check_samples(runner.bare_model, samples)
        with torch.random.fork_rng(devices=[]):  # a check must not change what is trained
            check_test_data(config, runner)
        return runner


def _train(config: Config) -> SafeRunner:
    runner = prepare(config)
    try:
        with naming_keys(config):  # the optimiser, schedules and loops are built now
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
        config.default_hooks.checkpoint.update(interval=-1, save_last=True)
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
