"""Do the parts of a config fit each other? Told before any data is read or rendered.

What two keys must agree on is compared; whether a diffusion network takes pictures of its size, and
has the layers that losses and probe name, is tried on the meta device: no weights, no data.
"""

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from vtonlab.engine.config.load import optim_wrappers
from vtonlab.engine.config.naming import naming_keys, part_that_failed
from vtonlab.engine.config.values import parameters_of
from vtonlab.engine.memory.estimate import meta_records, without_weights
from vtonlab.registry import DATASETS, MODELS

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_GRIDS = (2, 4, 8, 16, 32, 64, 128)  # sides that networks ask for are multiples of one of these
_KNOWN_GOOD: set[str] = set()  # models that this process has tried
Size = tuple[int, int]


def check_agreement(config: Config) -> None:
    """Compare what parts of a finished config must agree on.

    Raises:
        ValueError: names both keys and values, or the nearest sizes that fit.
    """
    model = config.get("model")
    if not isinstance(model, Mapping):
        return
    size = model.get("size")
    if isinstance(size, (list, tuple)) and not (len(size) == 2 and min(size) >= 1):
        raise ValueError(f"model.size={size!r}: two whole numbers, height and width, are needed")
    window = (config.get("log_processor") or {}).get("window_size", 1)
    if window < 1:
        raise ValueError(f"log_processor.window_size={window}: at least 1")
    for path, dataset in _datasets(config):
        _compare_sizes(model, path, dataset)
        _compare_categories(model, path, dataset)
    _check_schedule(config)
    _check_decay(config)
    if model.get("type") == "TryOnDiffusion":
        _check_network(config)


def _datasets(config: Config) -> Iterator[tuple[str, Mapping]]:
    """Path and settings of each data set, those inside wrappers too."""
    for loader in LOADERS:
        if config.get(loader):
            yield from _inside(config[loader].get("dataset"), f"{loader}.dataset")


def _inside(node: Any, path: str) -> Iterator[tuple[str, Mapping]]:
    if isinstance(node, (list, tuple)):
        for place, item in enumerate(node):
            yield from _inside(item, f"{path}.{place}")
    elif isinstance(node, Mapping):
        yield path, node
        for key in ("dataset", "datasets"):
            if key in node:
                yield from _inside(node[key], f"{path}.{key}")


def _argument(node: Mapping, registry, name: str) -> Any:
    """An argument as set, or its default; None where the class has no such argument."""
    kind = node.get("type")
    found = registry.get(kind) if isinstance(kind, str) else kind
    parameter = parameters_of(found)[0].get(name) if found is not None else None
    if parameter is None:
        return None
    given = node.get(name, parameter.default)
    return None if given is parameter.empty else given


def _compare_sizes(model: Mapping, path: str, dataset: Mapping) -> None:
    mine, its = _argument(model, MODELS, "size"), _argument(dataset, DATASETS, "size")
    if not (_is_size(mine) and _is_size(its)) or tuple(mine) == tuple(its):
        return
    raise ValueError(
        f"model.size is {mine[0]}x{mine[1]} and {path}.size is {its[0]}x{its[1]}: they must agree; "
        f"size={mine[0]}x{mine[1]} sets all of them where the config file defines `size`"
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def _compare_categories(model: Mapping, path: str, dataset: Mapping) -> None:
    known = _argument(model, MODELS, "categories")
    if isinstance(known, (list, tuple)) and not known:
        raise ValueError("model.categories is empty: name what the model dresses, or leave it out")
    kind = DATASETS.get(dataset["type"]) if isinstance(dataset.get("type"), str) else None
    if not known or kind is None or "categories" not in parameters_of(kind)[0]:
        return
    wanted = dataset.get("categories") or getattr(kind, "all_categories", ())
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"{path}.categories gives {', '.join(map(str, unknown))}, which model.categories "
            f"({', '.join(known)}) lacks: set one or the other"
        )


def _check_schedule(config: Config) -> None:
    """Say what never begins: harmless in a short trial, an error in a real run."""
    end = (config.get("train_cfg") or {}).get("max_iters")
    if not isinstance(end, (int, float)):
        return
    losses = (config.model.get("attention_losses") or {}) if config.get("model") else {}
    starts = {
        f"model.attention_losses.{name}.start_iter": loss.get("start_iter", 0)
        for name, loss in losses.items()
    }
    for place, hook in enumerate(config.get("custom_hooks") or []):
        starts[f"custom_hooks.{place}.begin_iter"] = hook.get("begin_iter", 0)
    schedules = config.get("param_scheduler") or []
    for place, one in enumerate(schedules if isinstance(schedules, (list, tuple)) else []):
        starts[f"param_scheduler.{place}.begin"] = one.get("begin", 0)
        for name, value in one.items():  # mmengine's schedules take any
            negative = isinstance(value, (int, float)) and value < 0 and name != "last_step"
            if negative:
                raise ValueError(f"param_scheduler.{place}.{name}={value}: nothing below 0")
            if name == "start_factor" and value == 0:  # each step's rate is a multiple of the last
                raise ValueError(f"param_scheduler.{place}.start_factor=0: above 0 (such as 1e-3)")
        if not one.get("begin", 0) < one.get("end", math.inf):
            raise ValueError(
                f"param_scheduler.{place}: begin={one.get('begin', 0)} is not before "
                f"end={one['end']}"
            )
    for key, start in starts.items():
        if isinstance(start, int) and start >= end > 0:
            _warn(
                f"{key}={start} lies beyond the end of this training (train_cfg.max_iters={end}): "
                f"it never begins"
            )
    for name, loss in losses.items():
        full = loss.get("start_iter", 0) + loss.get("warmup_iters", 0)
        if loss.get("warmup_iters", 0) and full > end > 0:
            _warn(
                f"model.attention_losses.{name}.warmup_iters={loss['warmup_iters']}: it has its "
                f"full weight from iteration {full} on, this training ends at {end}"
            )


def _warn(text: str) -> None:
    print_log(text, logger="current", level=logging.WARNING)


def _check_decay(config: Config) -> None:
    """``lr * weight_decay`` of 1 or more takes all of every weight away at each step."""
    for path, wrapper in optim_wrappers(config) if config.get("optim_wrapper") else ():
        settings = wrapper.get("optimizer") or {}
        rate, decay = settings.get("lr"), settings.get("weight_decay")
        if isinstance(rate, float) and isinstance(decay, (int, float)) and rate * decay >= 1:
            raise ValueError(
                f"{path}.optimizer.weight_decay={decay}: with lr={rate} each step would take all "
                f"of every weight away (lr x weight_decay must be far below 1)"
            )


# the network --------------------------------------------------------------------------------


def _check_network(config: Config) -> None:
    try:
        settings, cached = without_weights(config)
    except ValueError:
        return  # shapes that only the weights' own folder tells
    for part in ("backbone", "codec"):  # shapes are the same, and meta tensors know no autocast
        if "dtype" in settings[part]:
            settings[part]["dtype"] = "float32"
    digest = repr(settings)
    if digest in _KNOWN_GOOD:
        return
    try:
        with naming_keys(config), torch.device("meta"):
            model = MODELS.build(settings)
    except ValueError as error:
        if _of_meta(error):
            return
        raise
    size = tuple(config.model["size"])
    probed = [] if model.probe is None else list(model.probe["layers"])
    wanted = [*model.supervised_layers, *(p for p in probed if p not in model.supervised_layers)]
    try:
        records = meta_records(model, size, cached, wanted)
    except Exception as error:
        if _of_meta(error):
            return  # a part that computes with numbers of its own: nothing can be told here
        _check_size(config, model, size, cached)
        asked = {f"attention_losses.{n}": x.layers or [] for n, x in model.attention_losses.items()}
        asked["probe"] = probed
        keys = [f"model.{k}.layers" for k, names in asked.items() if set(names) & _quoted(error)]
        raise ValueError(
            f"{' and '.join(keys) or 'attention layers of the model'}: {error}"
        ) from error
    names = [record.name for record in records]
    for name, loss in model.attention_losses.items():
        key = f"model.attention_losses.{name}"
        _check_layers(f"{key}.layers", loss.layers, names)
        try:
            loss.select(records, {"person": torch.empty(1, 3, *size, device="meta")})
        except ValueError as error:
            raise ValueError(f"{part_that_failed(error, config)}: {error}") from error
    _check_layers("model.probe.layers", probed, names)
    _KNOWN_GOOD.add(digest)


def _check_size(config: Config, model, size: Size, cached: bool) -> None:
    """Whether the network runs at all on pictures of that size, with nothing recorded."""
    try:
        meta_records(model, size, cached)
    except Exception as error:
        near = [] if cached else _sizes_that_fit(model, size)
        if not near:
            where = part_that_failed(error, config)
            raise ValueError(
                f"{where}: the network cannot run on pictures of {size[0]}x{size[1]}: "
                f"{_one_line(error)}"
            ) from error
        raise ValueError(
            f"size: model.size={size[0]}x{size[1]} does not fit its codec, patches and levels "
            f"({_one_line(error)}); the nearest that fit are "
            f"{' and '.join(f'{h}x{w}' for h, w in near)}: set size=HxW"
        ) from error


def _of_meta(error: Exception) -> bool:
    """Whether the device is to blame, which has shapes and no numbers."""
    return isinstance(error, NotImplementedError) or re.search(r"\bmeta\b", str(error)) is not None


def _quoted(error: Exception) -> set[str]:
    return set(re.findall(r"'([^']*)'", str(error)))


def _check_layers(key: str, patterns: Sequence[str] | None, names: Sequence[str]) -> None:
    for pattern in patterns or ():
        if not isinstance(pattern, str):
            raise ValueError(f"{key} has {pattern!r}: wanted names or patterns of layers")
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"{key}: {pattern!r} matches no attention layer of the network; there are "
                f"{', '.join(names) or 'none'}"
            )


def _sizes_that_fit(model, size: Size) -> list[Size]:
    """The nearest size below and above (or one of them) whose sides are on a grid that fits."""
    for grid in _GRIDS:
        sides = [{side // grid * grid, -(-side // grid) * grid} for side in size]
        fitting = [one for one in product(*map(sorted, sides)) if min(one) and _fits(model, one)]
        if fitting:
            return [fitting[0]] if len(fitting) == 1 else [fitting[0], fitting[-1]]
    return []


def _fits(model, size: Size) -> bool:
    try:
        meta_records(model, size, cached=False)
    except Exception:
        return False
    return True


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
