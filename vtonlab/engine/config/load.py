"""From a config file and command-line options to the config that a runner is built from."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.config.utils import ConfigParsingError

from vtonlab.engine.config.check import (
    NAMED_PARTS,
    accepted_arguments,
    check_config,
    check_options,
    top_keys,
)
from vtonlab.engine.config.ingredients import as_size, read_with
from vtonlab.engine.config.inherit import read
from vtonlab.engine.config.names import find_config, shipped, short_name
from vtonlab.engine.config.released import apply_released
from vtonlab.engine.config.safe_mode import check_types, read_safely
from vtonlab.engine.config.sources import used_names
from vtonlab.engine.config.text import config_text
from vtonlab.registry import DATASETS, MODELS
from vtonlab.utils.plugins import import_plugins
from vtonlab.zoo import weights_path

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
LOADER_TIMEOUT_S = 300
IN_THE_BOX = "zoo:"  # of `load_from`, before the name of shipped weights


class RunConfig(Config):
    """The config of a run, which does not change any more: its text is made once.

    mmengine asks for it four times a run, and formats it for seconds each time.
    """

    @classmethod
    def of(cls, config: Config) -> "RunConfig":
        """The same config; nothing is copied."""
        other = cls.__new__(cls)
        vars(other).update(vars(config))
        return other

    @property
    def pretty_text(self) -> str:
        known = vars(self)
        if "_formatted" not in known:
            known["_formatted"] = config_text(self.to_dict())
        return known["_formatted"]


def load_config(
    path: str | Path,
    options: dict[str, Any] | None = None,
    *,
    safe: bool = False,
    inside: bool = True,
) -> Config:
    """Read a config and apply ``--cfg-options``.

    With ``as_released`` (of the file or an option) the file's table ``released`` is applied before
    the other options. Top-level names that the file only computes with (``size = (64, 48)``, used
    further down) are dropped once it is read: what remains is what a run sees, and all of it is
    checked. Set by an option, the files are read with the new value. A loss, metric or hook that an
    option sets to None is taken out.

    Args:
        path: a ``.py`` file in mmengine's ``read_base`` dialect (older dialects load too), or the
            name of a shipped config (``coral/dit_synthetic``).
        options: dotted path -> value; list items by number (``custom_hooks.0.interval``).
        safe: refuse files that do more than describe values, and types outside the registries;
            from then on this process resolves registered names only.
        inside: of a safe config: see `read_safely`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file cannot be read as a config, or an option names an unknown key.
    """
    path = find_config(path)
    try:
        config = (
            read_safely(path, inside=inside) if safe else read(path, import_custom_modules=False)
        )
        _import_customs(config)
    except (ConfigParsingError, SyntaxError, NameError, ImportError, AttributeError) as error:
        raise ValueError(f"config {path} cannot be read: {error}") from error
    ingredients = {name for name in used_names(path) if name in config and name not in top_keys()}
    options = {key: as_size(value, _at(config, key)) for key, value in (options or {}).items()}
    computed = {key: v for key, v in options.items() if key.split(".")[0] in ingredients}
    if computed:
        again = read_with(path, computed, safe=safe)
        if again is None:
            raise ValueError(_ingredient(next(iter(computed)).split(".")[0], config))
        config = again
        options = {key: value for key, value in options.items() if key not in computed}
    check_options(config, options)
    for name in ingredients:
        config.pop(name)
    apply_released(config, options or {})
    if options:
        items = {key: v for key, v in options.items() if key.rpartition(".")[2].isdigit()}
        others = {key: value for key, value in options.items() if key not in items}
        config.merge_from_dict(others, allow_list_keys=True)
        for key, value in items.items():  # mmengine merges dictionaries into items alone
            parent, _, place = key.rpartition(".")
            _at(config, parent)[int(place)] = value
    drop_nones(config._cfg_dict)
    if safe:
        check_types(config._cfg_dict)
        _check_as_run(config)
    return config


def _check_as_run(config: Config) -> None:
    """`check_config`, of the config as `finalize` will leave it."""
    copy = deepcopy(config)
    if copy.get("pretrained") is None:
        copy.pretrained = "not set yet"
    inject_data_root(copy)
    inject_pretrained(copy)
    inject_seed(copy)
    check_config(copy)


def _at(config: Config, path: str) -> Any:
    """What stands at a dotted path, or None."""
    node: Any = config._cfg_dict
    for part in path.split("."):
        if isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            return None
    return node


def drop_nones(node: Any, name: str = "") -> None:
    """Take out, in place, each loss, metric, hook or transform that is None.

    So ``model.attention_losses.entropy=None`` switches one loss off. ``default_hooks`` keep theirs:
    mmengine adds what is not named there.
    """
    if isinstance(node, list):
        if any(isinstance(item, dict) and "type" in item for item in node):
            node[:] = [item for item in node if item is not None]
        for item in node:
            drop_nones(item)
    elif isinstance(node, dict):
        named = name in NAMED_PARTS and "type" not in node
        for key in [key for key, value in node.items() if named and value is None]:
            del node[key]
        for key, value in node.items():
            drop_nones(value, key)


def _import_customs(config: Config) -> None:
    """``custom_imports``, which mmengine skips in its new dialect."""
    if config.get("custom_imports"):
        customs = dict(config.custom_imports)
        forgive = customs.get("allow_failed_imports", False)
        import_plugins(customs.get("imports") or (), forgive=forgive)


def _ingredient(name: str, config: Config) -> str:
    value = config[name]
    places = [path for path, found in _leaves(config._cfg_dict) if found == value]
    places = [path for path in places if "." in path][:4]
    where = f": {', '.join(places)}" if places else ""
    return (
        f"{name!r} is used only while the config file is read and setting it changes nothing: set "
        f"the keys it went into{where}"
    )


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            here = f"{path}.{key}" if path else key
            yield here, value
            yield from _leaves(value, here)


def inject_data_root(config: Config) -> list[str]:
    """Give every data set that lacks a ``data_root`` the config's top-level one, in place.

    Wrappers are looked through (``ConcatDataset(datasets=[...])`` and the like).

    Returns:
        Paths of the data sets that keep a ``data_root`` of their own.
    """
    root = config.get("data_root")
    kept: list[str] = []
    if root is None:
        return kept
    for loader in LOADERS:
        if isinstance(config.get(loader), dict):
            _inject(config[loader].get("dataset"), str(root), f"{loader}.dataset", kept)
    return kept


def _inject(node: Any, root: str, path: str, kept: list[str]) -> None:
    if isinstance(node, (list, tuple)):
        for number, item in enumerate(node):
            _inject(item, root, f"{path}.{number}", kept)
    if not isinstance(node, dict):
        return
    if _takes_data_root(node.get("type")):
        if node.get("data_root") is None:
            node["data_root"] = root
        elif node["data_root"] != root:
            kept.append(path)
    for key in ("dataset", "datasets"):
        if key in node:
            _inject(node[key], root, f"{path}.{key}", kept)


def inject_pretrained(config: Config) -> None:
    """Give every part of the model whose ``path`` is None the config's top-level ``pretrained``."""
    folder = config.get("pretrained")
    if folder is not None and config.get("model"):
        _inject_path(config.model, str(folder))


def inject_seed(config: Config) -> None:
    """Give a model that draws its own noise (argument ``seed``) the run's seed."""
    model, seed = config.get("model"), (config.get("randomness") or {}).get("seed")
    if not model or seed is None or model.get("seed") is not None:
        return
    found = MODELS.get(model["type"]) if isinstance(model.get("type"), str) else model.get("type")
    if callable(found) and "seed" in accepted_arguments(found):
        model["seed"] = seed


def _inject_path(node: Any, folder: str) -> None:
    values = node.values() if isinstance(node, dict) else node
    if isinstance(node, dict) and "path" in node and node["path"] is None:
        node["path"] = folder
    if isinstance(node, (dict, list, tuple)):
        for value in values:
            _inject_path(value, folder)


def _takes_data_root(dataset_type: Any) -> bool:
    found = DATASETS.get(dataset_type) if isinstance(dataset_type, str) else dataset_type
    return callable(found) and "data_root" in accepted_arguments(found)


def run_name(path: str | Path) -> Path:
    """What a run of a config is called, as a relative path: that below the last folder ``configs``.

    ``configs/coral/dit_synthetic.py`` is ``coral/dit_synthetic``: methods share file names.
    """
    if not Path(path).is_file() and short_name(path) in shipped():
        return Path(short_name(path))
    path = Path(path).with_suffix("")
    below = [place for place, part in enumerate(path.parts[:-1]) if part == "configs"]
    return Path(*path.parts[below[-1] + 1 :]) if below else Path(path.name)


def finalize(
    config: Config,
    *,
    work_dir: str | None = None,
    seed: int | None = None,
    amp: bool = False,
    launcher: str = "none",
    deterministic: bool = False,
    auto_scale_lr: bool = False,
) -> Config:
    """Apply what the command line decides, in place; ``load_from="zoo:NAME"`` becomes the file of
    the shipped weights called so.

    Args:
        work_dir: None: the config's own, or ``work_dirs/<method>/<config name>``.
        seed: replaces ``randomness.seed``.
        amp: bfloat16 autocast, on CPU as on CUDA.
        launcher: "none", "pytorch" or "slurm".
        deterministic: deterministic CUDA kernels only, where torch has them.
        auto_scale_lr: learning rate x samples per iteration / ``auto_scale_lr.base_batch_size``.

    Raises:
        ValueError: ``amp`` with a config whose wrapper cannot be switched, or ``auto_scale_lr``
            with one that does not say for which batch its learning rate is meant.
    """
    default = Path("work_dirs") / run_name(config.filename or "unnamed")
    config.work_dir = str(work_dir or config.get("work_dir") or default)
    if seed is not None:
        config.randomness = dict(config.get("randomness") or {}, seed=seed)
    if deterministic:
        config.randomness = dict(config.get("randomness") or {}, deterministic=True)
    if auto_scale_lr:
        _scale_lr(config)
    if amp:
        for path, wrapper in optim_wrappers(config):
            _use_autocast(path, wrapper)
    if str(config.get("load_from") or "").startswith(IN_THE_BOX):
        config.load_from = str(weights_path(config.load_from.removeprefix(IN_THE_BOX)))
    config.launcher = launcher
    if launcher != "none" and not torch.cuda.is_available():
        _distribute_on_cpu(config)
    inject_data_root(config)
    inject_pretrained(config)
    inject_seed(config)
    for loader in LOADERS:  # a worker that hangs on a file system is an error, not a wait for ever
        settings = config.get(loader)
        workers = settings.get("num_workers", 0) if isinstance(settings, dict) else 0
        if isinstance(workers, int) and workers > 0:
            config[loader].setdefault("timeout", LOADER_TIMEOUT_S)
    return config


def optim_wrappers(config: Config) -> Iterator[tuple[str, dict]]:
    """Path and config of each optimiser wrapper: one, or one for each part of the model."""
    wrapper = config.optim_wrapper
    if "constructor" not in wrapper or "optimizer" in wrapper:
        yield "optim_wrapper", wrapper
        return
    for name, part in wrapper.items():
        if isinstance(part, dict):
            yield f"optim_wrapper.{name}", part


def _use_autocast(path: str, wrapper: dict) -> None:
    kind = wrapper.get("type", "OptimWrapper")
    if kind == "AmpOptimWrapper":
        return  # float16 with a scaler was asked for already
    if kind not in ("OptimWrapper", "FiniteOptimWrapper", "AutocastOptimWrapper"):
        raise ValueError(
            f"--amp cannot change {path}.type={kind!r}: set 'AutocastOptimWrapper' in the config"
        )
    wrapper["type"] = "AutocastOptimWrapper"


def _scale_lr(config: Config) -> None:
    settings = config.get("auto_scale_lr") or {}
    if "base_batch_size" not in settings:
        raise ValueError(
            "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) in the config: the "
            "samples per iteration (batch size x processes) that its learning rate is meant for"
        )
    config.auto_scale_lr = dict(settings, enable=True)


def _distribute_on_cpu(config: Config) -> None:
    """Gloo, and a wrapper without device ids: mmengine takes a GPU for granted."""
    env = config.setdefault("env_cfg", ConfigDict())
    env.setdefault("dist_cfg", ConfigDict())["backend"] = "gloo"
    wrapper = config.get("model_wrapper_cfg") or {}
    config.model_wrapper_cfg = dict(
        dict(
            type="MMDistributedDataParallel",
            broadcast_buffers=False,
            find_unused_parameters=config.get("find_unused_parameters", False),
        ),
        **wrapper,
    )
    config.model_wrapper_cfg["device_ids"] = None
