"""Testing a checkpoint: pictures, the model's own metrics, a protocol's scores, one folder."""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook
from PIL import Image

from vtonlab.engine.checkpoints.exported import digest as digest_of
from vtonlab.engine.checkpoints.exported import is_export
from vtonlab.engine.checkpoints.files import is_checkpoint, manifest_path, plain, write_text
from vtonlab.engine.config.check import accepted_arguments, check_config
from vtonlab.engine.hooks.save_pictures import without_padding
from vtonlab.engine.running.runner import SafeRunner, build_runner
from vtonlab.engine.running.training import check_data, check_samples
from vtonlab.engine.testing.pair_loop import JOURNAL, PairTestLoop
from vtonlab.evaluation.evaluate import (
    check_predictions,
    score_facts,
    seeds,
    wanted_maps,
    with_files,
)
from vtonlab.evaluation.protocol import REPAINTS, Protocol
from vtonlab.evaluation.results import (
    RESULTS,
    pair_name,
    read_results,
    relative,
    run_facts,
    versions,
    write_results,
)
from vtonlab.evaluation.scoring import Scores, add_columns, score_pictures
from vtonlab.evaluation.truth import Truth, open_truth
from vtonlab.registry import DATASETS, HOOKS
from vtonlab.utils.bounded import read_json
from vtonlab.utils.locking import WorkDirLock
from vtonlab.utils.progress import Progress
from vtonlab.utils.writing import sweep

SAMPLING = "sampling.json"  # what the pictures of a folder were drawn with
_DRAWN = (JOURNAL, "pictures", "repainted", "inputs", "attention", SAMPLING, RESULTS)


def test(
    config: Config,
    checkpoint: str,
    out: str | Path,
    *,
    protocol: Protocol | None = None,
    setting: str | None = None,
    exclude: str | None = None,
    save_attention: int = 0,
    restart: bool = False,
) -> dict[str, Any]:
    """Test a checkpoint on the config's test data and write a results folder.

    Training parts of the config are dropped, so its training data need not exist. A ``.pth`` has
    the averaged weights as its ``state_dict`` where training averaged; these are tested. Pairs that
    the folder already holds, drawn with the same checkpoint, model, data and seed, are not drawn
    again.

    Args:
        config: finished (``load_config``, ``finalize``).
        checkpoint: ``.pth``, ``.safetensors`` or an exported folder.
        out: results folder.
        protocol: also score the pictures under it; None: the config's ``test_evaluator`` alone.
        setting: ``"paired"`` or ``"unpaired"``; None: as the config says.
        exclude: file of people to leave out.
        save_attention: of how many pairs the report gets attention maps.
        restart: forget what the folder holds.

    Returns:
        results.json, on every rank.

    Raises:
        ValueError: no test data in the config, a checkpoint that does not fit, or a folder that
            holds pictures of something else.
        FileNotFoundError: no checkpoint, no data.
    """
    start = time.time()
    check_config(config)
    if not is_checkpoint(checkpoint):
        raise FileNotFoundError(f"no checkpoint at {checkpoint}: train one with tools/train.py")
    if config.get("test_dataloader") is None:
        raise ValueError(f"{config.filename} has no test_dataloader: there is nothing to test on")
    dataset = _dataset_of(config, setting, exclude)
    setting = dataset.get("setting") or "paired"
    truth = _truth(dataset, setting, protocol)
    if protocol is not None:
        check_fit(config, protocol, truth)
    _set_up(config, checkpoint, out, setting, save_attention)
    tested = _tested(config, checkpoint)
    samples, notes = check_data(config, "test_dataloader")
    runner = build_runner(config)
    runner.data_notes = notes
    check_samples(runner.bare_model, samples)
    with WorkDirLock(out, "--out") if is_main_process() else nullcontext():
        claim(Path(out), _identity(config, checkpoint, runner.seed, truth), restart)
        metrics = runner.test()
        if is_main_process():
            results, rows = _score(runner, metrics, truth, protocol, setting, Path(out))
            results |= tested | {
                "seeds": results["seeds"] | {"pictures": runner.seed},
                "seed": runner.seed,
                "run": run_facts(start, get_world_size()),
            }
            write_results(out, results, rows)
    barrier()
    return read_results(out).facts


# before drawing ---------------------------------------------------------------------------------


def _dataset_of(config: Config, setting: str | None, exclude: str | None) -> dict[str, Any]:
    """The test data set's config, changed in place as the command line says."""
    dataset = config.test_dataloader.dataset
    accepted = accepted_arguments(DATASETS.get(dataset["type"]))
    for key, value in (("setting", setting), ("exclude", exclude)):
        if value is not None and key not in accepted:
            raise ValueError(f"--{key}: {dataset['type']} of {config.filename} has no {key!r}")
        if value is not None:
            dataset[key] = value
    return dataset.to_dict() if hasattr(dataset, "to_dict") else dict(dataset)


def _truth(dataset: Mapping, setting: str, protocol: Protocol | None) -> Truth | None:
    """The true side; None for data that are not try-on pairs (no ``setting``)."""
    if "setting" not in accepted_arguments(DATASETS.get(dataset["type"])):
        if protocol is not None:
            raise ValueError(f"--protocol {protocol.name}: {dataset['type']} holds no try-on pairs")
        return None
    needs = wanted_maps(protocol, setting, paste=False) if protocol is not None else ()
    return open_truth(dataset, setting, needs)


def check_fit(config: Config, protocol: Protocol, truth: Truth) -> None:
    """Whether this model's pictures can be scored under a protocol, before any is drawn.

    Raises:
        ValueError: another size than an exact protocol's, or training data of the tested kind under
            a cross-data-set protocol.
    """
    size, photo = config.model.get("size"), truth.size(0)
    wanted = protocol.size if isinstance(protocol.size, tuple) else photo
    if protocol.exact and size is not None and tuple(size) != wanted:
        raise ValueError(
            f"protocol {protocol.name} compares at {wanted[0]}x{wanted[1]}, this model draws "
            f"{size[0]}x{size[1]}: compare at its size with --size {size[0]}x{size[1]}"
        )
    loader = config.get("train_dataloader")
    if protocol.same_dataset or not loader:
        return
    trained, tested = ({loader.dataset["type"]}, config.test_dataloader.dataset["type"])
    if tested in trained:
        raise ValueError(
            f"protocol {protocol.name} is for data the model was not trained on, and "
            f"{config.filename} trains and tests on {tested}: set test_dataloader.dataset to "
            f"another data set"
        )


def _set_up(
    config: Config, checkpoint: str, out: str | Path, setting: str, save_attention: int
) -> None:
    """Make, in place, a training's config one that tests ``checkpoint`` pair by pair."""
    drop_training(config)
    config.test_cfg = dict(type="PairTestLoop", unpaired=setting == "unpaired")
    if config.default_hooks.get("logger"):  # it counts batches; the loop tells of pairs itself
        config.default_hooks["logger"] = dict(config.default_hooks["logger"], interval=sys.maxsize)
    config.test_dataloader.sampler = dict(type="EvalSampler")
    if save_attention:
        config.custom_hooks = [
            *config.custom_hooks,
            dict(type="SaveAttentionHook", count=save_attention),
        ]
    config.load_from, config.resume, config.work_dir = str(checkpoint), False, str(out)


def _tested(config: Config, checkpoint: str) -> dict[str, Any]:
    """What results.json says of the model that is tested."""
    known = manifest_path(checkpoint).is_file() or is_export(checkpoint)
    return {
        "sampler": plain(config.model.get("sampler")),
        "config": str(config.filename),
        "checkpoint": str(checkpoint),
        "sha256": digest_of(checkpoint) if known else None,
        "torch": torch.__version__,
    }


def drop_training(config: Config) -> None:
    """Remove, in place, what only training needs; ``None`` keeps mmengine from its defaults."""
    for part in ("train", "val"):
        for suffix in ("dataloader", "cfg", "evaluator"):
            if f"{part}_{suffix}" in config:
                config[f"{part}_{suffix}"] = None
    config.optim_wrapper = config.param_scheduler = None
    for key in ("load_other_size", "sharding"):  # each process draws pairs with all weights
        config.pop(key, None)
    if config.get("model") and config.model.get("image_losses"):
        config.model.image_losses = None  # their networks have files of their own
    slots = {k: v for k, v in (config.get("default_hooks") or {}).items() if not _trains(v)}
    config.default_hooks = dict(slots, checkpoint=None, param_scheduler=None)
    config.custom_hooks = [h for h in config.get("custom_hooks") or [] if not _trains(h)]


def _trains(hook: Mapping | None) -> bool:
    """Whether a hook is for training alone: an averager of weights, or one that says so
    (``only_while_training``).
    """
    found = HOOKS.get(hook["type"]) if hook else None
    return found is not None and (
        issubclass(found, EMAHook) or getattr(found, "only_while_training", False)
    )


def _identity(config: Config, checkpoint: str, seed: int, truth: Truth | None) -> dict[str, Any]:
    """What a drawn picture depends on, part by part, as hashes and plain values."""
    data = dict(plain(config.test_dataloader.dataset))
    data.pop("data_root", None)  # a data set may move; its list may not change
    return {
        "checkpoint": digest_of(checkpoint),
        "model": _digest(plain(config.model)),
        "data": _digest(data),
        "list": truth.digest if truth is not None else None,
        "metrics": _digest(plain(config.get("test_evaluator"))),
        "seed": seed,
    }


def claim(out: Path, identity: Mapping[str, Any], restart: bool) -> None:
    """Make sure that a folder holds pictures of ``identity`` alone.

    Raises:
        ValueError: it holds others; names what differs.
    """
    if is_main_process() and restart:
        for name in _DRAWN:
            path = out / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(True)
    barrier()
    path = out / SAMPLING
    held = read_json(path) if path.is_file() else None
    if held is None and (out / "pictures").is_dir():
        held = {"folder": "of an older version"}
    if held is not None and held != dict(identity):
        differing = ", ".join(k for k in identity if held.get(k) != identity[k])
        raise ValueError(
            f"{out} holds pictures of another test (another {differing}): give this one another "
            f"--out, or draw anew with --restart"
        )
    barrier()
    if is_main_process():
        out.mkdir(parents=True, exist_ok=True)
        sweep(out)
        write_text(path, json.dumps(dict(identity)) + "\n")


# after drawing ----------------------------------------------------------------------------------


def _score(
    runner: SafeRunner,
    metrics: Mapping[str, Any],
    truth: Truth | None,
    protocol: Protocol | None,
    setting: str,
    out: Path,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """results.json without the run's own facts, and the rows of the table."""
    loop: PairTestLoop = runner.test_loop
    scores = _own_scores(loop, metrics)
    facts = {
        "system": Path(runner.cfg.filename or "unnamed").stem,
        "setting": setting,
        "metrics": scores.metrics,
        "directions": scores.directions,
        "intervals": scores.intervals,
        "by_category": scores.by_category,
        "not_computed": scores.not_computed,
        "protocol": None,
        "images": len(loop.entries),
        "real_pictures": 0,
        "list": {"sha256": truth.digest if truth else None, "pairs": len(loop.entries)},
        "repaint": "none",
        "mask_source": truth.describe_mask() if truth else "none",
        "seeds": {"kid": None, "bootstrap": 0},
        "versions": versions(),
        "weights": {},
    }
    rows, drawn = scores.rows, _drawn_files(loop, out)
    scored = drawn["generated"]
    if protocol is not None:
        paste = bool(protocol.repaint)
        scored = drawn["repainted" if paste else "generated"]
        check_predictions(out / ("repainted" if paste else "pictures"), truth, protocol)
        found = score_pictures(protocol, truth, scored, setting, progress=Progress("scores"))
        facts |= score_facts(found, protocol, setting, truth) | {
            "repaint": REPAINTS[paste],
            "seeds": seeds(protocol, setting),
        }
        for key in ("metrics", "directions", "intervals", "not_computed"):
            facts[key] = {**getattr(scores, key), **facts[key]}
        rows = [{**own, **row} for own, row in zip(scores.rows, found.rows, strict=True)]
    facts["pictures"] = {
        "generated": "pictures" if drawn["generated"][0] else None,
        "repainted": "repainted" if drawn["repainted"][0] else None,
        "scored": scored[0].parent.name if scored[0] else None,
    }
    if truth is not None:
        rows = with_files(rows, truth, out, scored=scored, **drawn)
        if not truth.files(0):
            rows = _with_inputs(rows, truth, out)
    return facts, rows


def _own_scores(loop: PairTestLoop, metrics: Mapping[str, Any]) -> Scores:
    """What the config's metrics said, with columns and intervals."""
    scores = Scores(not_computed=dict(loop.refused))
    scores.metrics = {name: _number(value) for name, value in metrics.items()}
    keys = ("id", "garment_id", "category", "index")
    scores.rows = [{k: e[k] for k in keys if k in e} for e in loop.entries]
    kept = []
    for place, metric in enumerate(loop.evaluator.metrics):
        metric.results = [entry["rows"][place] for entry in loop.entries]
        if all(isinstance(row, Mapping) and "why" not in row for row in metric.results):
            kept.append(metric)
        scores.directions |= dict(getattr(metric, "directions", {}))  # mmengine's have none
    add_columns(scores, kept)
    scores.directions = {k: v for k, v in scores.directions.items() if k in scores.metrics}
    return scores


def _drawn_files(loop: PairTestLoop, out: Path) -> dict[str, list[Path | None]]:
    """The files of each pair that the loop's hooks wrote; None where there is none."""
    files: dict[str, list[Path | None]] = {"generated": [], "repainted": [], "attention": []}
    places = (("generated", "pictures", "png"), ("repainted", "repainted", "png"))
    for entry in loop.entries:
        name = pair_name(entry.get("id", ""), entry.get("garment_id", ""))
        for key, folder, suffix in (*places, ("attention", "attention", "npz")):
            path = out / folder / f"{name}.{suffix}"
            files[key].append(path if path.is_file() else None)
    return files


def _with_inputs(rows: list[dict], truth: Truth, out: Path) -> list[dict]:
    """Rows of data that are drawn, with their inputs written beside the results."""
    for index, row in enumerate(rows):
        sample = truth.sample(index)
        for key in ("person", "garment", "agnostic", "target", "mask"):
            if key not in sample:
                continue
            name = sample["garment_id"] if key == "garment" else sample["id"]
            path = out / "inputs" / key / f"{pair_name(name, '')[:-2]}.png"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = sample[key] * 255 if key == "mask" else sample[key]
                temporary = path.with_suffix(".tmp")
                Image.fromarray(without_padding(picture, None)).save(temporary, "PNG")
                os.replace(temporary, path)
            row[f"{key}_file"] = relative(path, out)
        if truth.setting == "paired" and "target" not in sample:
            row["target_file"] = row["person_file"]
    return rows


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
