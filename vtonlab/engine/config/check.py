"""Strict configs: an unknown key anywhere stops before training and names the nearest valid one.

Nothing is built: types are looked up in their registries and the keys beside each ``type`` are
compared with the constructor's arguments.
"""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine import registry as mm
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from vtonlab import registry as ours
from vtonlab.engine.running import registries as running

HOOK_SLOTS = frozenset(  # mmengine's, then ours: see configs/_base_/default_runtime.py
    "runtime_info timer sampler_seed logger param_scheduler checkpoint visualization "
    "rng guard signal supervision dead_losses ema preview pictures".split()
)
TOP_KEYS = frozenset(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} | {
    "data_root",
    "pretrained",
    "as_released",
    "released",
    "partial_load",
    "load_other_size",
    "load_parts",
    "custom_imports",
    "model_wrapper_cfg",
    "find_unused_parameters",
    "sharding",
    "sync_bn",
    "activation_checkpointing",
    "efficient_conv_bn_eval",
}
_LOADER = frozenset(inspect.signature(DataLoader.__init__).parameters) - {"self"} | {
    "num_batch_per_epoch",
    "disable_subprocess_warning",
}
_FIXED: dict[str, frozenset[str]] = {
    "env_cfg": frozenset(["cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"]),
    "env_cfg.mp_cfg": frozenset(["mp_start_method", "opencv_num_threads"]),
    "env_cfg.dist_cfg": frozenset(["backend", "timeout", "init_backend", "port"]),
    "randomness": frozenset(["seed", "diff_rank_seed", "deterministic"]),
    "sharding": frozenset(["module", "blocks", "param_dtype"]),
    "auto_scale_lr": frozenset(["base_batch_size", "enable"]),
    "custom_imports": frozenset(["imports", "allow_failed_imports"]),
    "default_hooks": HOOK_SLOTS,
    "train_dataloader": _LOADER,
    "val_dataloader": _LOADER,
    "test_dataloader": _LOADER,
}
_BY_NAME: dict[str, frozenset[str]] = {  # wherever they stand under optim_wrapper
    "clip_grad": frozenset(
        ["type", "max_norm", "norm_type", "error_if_nonfinite", "foreach", "clip_value"]
    ),
    "paramwise_cfg": frozenset(
        "lr_mult decay_mult bias_lr_mult bias_decay_mult norm_decay_mult flat_decay_mult "
        "dwconv_decay_mult dcn_offset_lr_mult bypass_duplicate custom_keys".split()
    ),
}
_MATCHES = frozenset(["matcher", "root", "maps"])  # of a data set: see match_store.open_store
_DEFAULT_TYPES = {
    "optim_wrapper": "OptimWrapper",
    "val_cfg": "PairValLoop",
    "test_cfg": "TestLoop",
    "log_processor": "LogProcessor",
    "model_wrapper_cfg": "MMDistributedDataParallel",
}
# Which registry a key's ``type`` belongs to; what is not listed is looked up in all of them.
_REGISTRIES: dict[str, Registry] = {
    **dict.fromkeys(["model", "data_preprocessor"], ours.MODELS),
    **dict.fromkeys(["backbone", "reference_backbone", "codec", "vae"], ours.BACKBONES),
    "conditioner": ours.CONDITIONERS,
    "matcher": ours.MATCHERS,
    **dict.fromkeys(["attention_losses", "attention_loss"], ours.ATTENTION_LOSSES),
    **dict.fromkeys(["losses", "image_losses"], ours.LOSSES),
    "noise_schedule": ours.NOISE_SCHEDULES,
    **dict.fromkeys(["dataset", "datasets"], ours.DATASETS),
    **dict.fromkeys(["pipeline", "transforms"], ours.TRANSFORMS),
    **dict.fromkeys(["default_hooks", "custom_hooks"], ours.HOOKS),
    **dict.fromkeys(["train_cfg", "val_cfg", "test_cfg"], ours.LOOPS),
    "optim_wrapper": ours.OPTIM_WRAPPERS,
    "optimizer": running.OPTIMIZERS,
    "param_scheduler": running.PARAM_SCHEDULERS,
    **dict.fromkeys(["val_evaluator", "test_evaluator", "metrics"], ours.METRICS),
    "visualizer": ours.VISUALIZERS,
    "vis_backends": running.VISBACKENDS,
    "log_processor": running.LOG_PROCESSORS,
    "model_wrapper_cfg": running.MODEL_WRAPPERS,
    **dict.fromkeys(["collate_fn", "worker_init_fn"], mm.FUNCTIONS),
}
_ALL = [value for value in vars(ours).values() if isinstance(value, Registry)]
_ALL += [
    running.OPTIMIZERS,
    running.PARAM_SCHEDULERS,
    running.VISBACKENDS,
    running.LOG_PROCESSORS,
    running.EVALUATOR,
]
_ALL += [running.MODEL_WRAPPERS, mm.FUNCTIONS]
_ALWAYS = frozenset(["type", "_scope_", "_delete_"])
_PART = frozenset(["modules", "paramwise_cfg"])  # see MultiOptimWrapperConstructor


def accepted_arguments(target: Any) -> frozenset[str]:
    """Argument names that a class or function takes by keyword.

    A constructor with ``**kwargs`` also takes what the next one in its method resolution order
    takes, as mmengine's schedulers and wrappers do.
    """
    if not inspect.isclass(target):
        return _keywords(target)[0]
    names: set[str] = set()
    for parent in target.__mro__[:-1]:
        if "__init__" in vars(parent):
            own, open_ended = _keywords(vars(parent)["__init__"])
            names |= own
            if not open_ended:
                break
    return frozenset(names - {"self"})


def _keywords(function: Any) -> tuple[frozenset[str], bool]:
    parameters = inspect.signature(function).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    return frozenset(p.name for p in parameters if p.kind in named), open_ended


def check_config(config: Mapping[str, Any]) -> None:
    """Check every key of a config.

    Raises:
        ValueError: names the first unknown key or type with its path, and the nearest valid one.
    """
    _check(_as_dict(config), ())


def check_options(config: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Check that each ``--cfg-options`` path exists, or is an argument its class takes.

    Raises:
        ValueError: names the unknown part and the nearest valid one.
    """
    for option in options:
        node: Any = _as_dict(config)
        path: tuple[str, ...] = ()
        *parents, last = option.split(".")
        for part in parents:
            if not _has(node, part):
                raise ValueError(_unknown((*path, part), _names(node), "--cfg-options"))
            node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
            path = (*path, part)
        valid = allowed_keys(node, path) if isinstance(node, Mapping) else None
        if not _has(node, last) and last not in (valid or ()):
            names = valid if not path else [*_names(node), *(valid or ())]
            raise ValueError(_unknown((*path, last), names, "--cfg-options"))


def _as_dict(config: Any) -> Mapping[str, Any]:
    return config._cfg_dict if isinstance(config, Config) else config


def _has(node: Any, part: str) -> bool:
    if isinstance(node, (list, tuple)):
        return part.isdigit() and int(part) < len(node)
    return isinstance(node, Mapping) and part in node


def _names(node: Any) -> list[str]:
    if isinstance(node, (list, tuple)):
        return [str(i) for i in range(len(node))]
    return list(node) if isinstance(node, Mapping) else []


def allowed_keys(node: Mapping[str, Any], path: tuple[str, ...]) -> frozenset[str] | None:
    """Keys that the dictionary at ``path`` may have; None where it is free (a plain argument)."""
    dotted = ".".join(path)
    if not path:
        return TOP_KEYS
    if dotted in _FIXED:
        return _FIXED[dotted]
    if path[0] == "optim_wrapper" and path[-1] in _BY_NAME:
        return _BY_NAME[path[-1]]
    if path[0].endswith("_dataloader") and path[-1] == "matches":
        return _MATCHES
    found = _resolve(node, path)
    if found is None:
        return None
    return accepted_arguments(found) | _ALWAYS | _extras(node, path)


def _extras(node: Mapping[str, Any], path: tuple[str, ...]) -> frozenset[str]:
    """What mmengine itself reads beside a type before the constructor sees the rest."""
    if path[0] in ("default_hooks", "custom_hooks"):
        extra = {"priority"}
        if node.get("type") == "EMAHook":
            averaged = ours.MODELS.get(node.get("ema_type", "ExponentialMovingAverage"))
            extra |= accepted_arguments(averaged) - {"model"} if averaged else set()
        return frozenset(extra)
    if _is_wrapper(node, path):
        return frozenset(["constructor", "paramwise_cfg"] if len(path) == 1 else _PART)
    if path[0] == "param_scheduler":
        return frozenset(["convert_to_iter_based"])
    if path == ("train_cfg",):
        return frozenset(["by_epoch"])
    return frozenset()


def _is_wrapper(node: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    return path[0] == "optim_wrapper" and "optimizer" in node


def _resolve(node: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The class or function that the dictionary configures, or None for a plain dictionary."""
    wanted = node.get("type")
    if wanted is None:
        wanted = _default_type(node, path)
    if wanted is None or not isinstance(wanted, str):
        return wanted
    preferred = _registry_of(path)
    candidates = ([] if preferred is None else [preferred]) + [
        r for r in _ALL if r is not preferred
    ]
    for registry in candidates:
        found = registry.get(wanted)
        if found is not None:
            return found
    names = _registered(_ALL if preferred is None else [preferred])
    raise ValueError(
        f"config key '{'.'.join(path)}.type' is {wanted!r}, which is not registered"
        + _hint(wanted, names)
    )


def _default_type(node: Mapping[str, Any], path: tuple[str, ...]) -> str | None:
    if path == ("train_cfg",):
        return "EpochBasedTrainLoop" if node.get("by_epoch") else "IterBasedTrainLoop"
    if path[-1] in ("val_evaluator", "test_evaluator") and "metrics" in node:
        return "Evaluator"
    if path[0] == "optim_wrapper":
        if len(path) == 1:
            return "OptimWrapper"
        return "FiniteOptimWrapper" if _is_wrapper(node, path) else None
    return _DEFAULT_TYPES.get(".".join(path))


def _registry_of(path: tuple[str, ...]) -> Registry | None:
    for name in reversed(path):
        if name == "sampler" or name == "batch_sampler":
            return ours.DATA_SAMPLERS if path[0].endswith("_dataloader") else ours.SAMPLERS
        if name in _REGISTRIES:
            return _REGISTRIES[name]
        if not name.isdigit() and path[0] not in ("default_hooks",):
            return None  # an argument of some class: look everywhere
    return _REGISTRIES.get(path[0])


def _registered(registries: Iterable[Registry]) -> list[str]:
    names: list[str] = []
    for registry in registries:
        registry.import_from_location()
        names += list(registry.module_dict)
        if registry.parent is not None:
            names += list(registry.parent.module_dict)
    return names


def _check(node: Any, path: tuple[str, ...]) -> None:
    if isinstance(node, (list, tuple)):
        for number, item in enumerate(node):
            _check(item, (*path, str(number)))
    if not isinstance(node, Mapping):
        return
    valid = allowed_keys(node, path)
    several = path == ("optim_wrapper",) and "optimizer" not in node
    if several:
        _check_parts(node)
    for key, value in node.items():
        if not path and (key.startswith("_") or callable(value) or inspect.ismodule(value)):
            continue  # private, or a name that the config file imported
        if valid is not None and key not in valid and not several:
            raise ValueError(_unknown((*path, key), valid, "the config"))
        _check(value, (*path, key))


def _check_parts(node: Mapping[str, Any]) -> None:
    """Several optimisers: a constructor that exists, and parts that have an optimiser each."""
    constructor = node.get("constructor")
    if constructor is None:
        raise ValueError(
            "optim_wrapper has no 'optimizer'; for several set constructor="
            "'MultiOptimWrapperConstructor' beside one part for each"
        )
    if isinstance(constructor, str) and running.OPTIM_WRAPPER_CONSTRUCTORS.get(constructor) is None:
        names = _registered([running.OPTIM_WRAPPER_CONSTRUCTORS])
        raise ValueError(
            f"optim_wrapper.constructor is {constructor!r}, which is not registered"
            + _hint(constructor, names)
        )
    for name, part in node.items():
        if name not in _ALWAYS | {"constructor", "paramwise_cfg"} and not (
            isinstance(part, Mapping) and "optimizer" in part
        ):
            raise ValueError(
                f"optim_wrapper.{name} has no optimizer: each part is dict(type=..., optimizer=...)"
            )


def _unknown(path: tuple[str, ...], names: Iterable[str], where: str) -> str:
    return f"unknown key {'.'.join(path)!r} in {where}" + _hint(path[-1], names)


def _hint(wanted: str, names: Iterable[str]) -> str:
    names = sorted({name for name in names if not name.startswith("_")})
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    if near:
        return f": did you mean {near[0]!r}?"
    if not names:
        return ": there is nothing to set here"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f": valid names here are {shown}"
