"""Strict configs: an unknown key anywhere stops before training and names the nearest valid one.

Nothing is built: types are looked up in their registries, and the keys beside each ``type`` are
compared with the constructor's arguments, their values with its annotations.
"""

import difflib
import inspect
import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from mmengine import registry as mm
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from torch.distributed import Backend
from torch.utils.data import DataLoader

from vtonlab import registry as ours
from vtonlab.engine.config.sentences import hint, unknown_key
from vtonlab.engine.config.top_level import TOP_LEVEL, Arguments, declared
from vtonlab.engine.config.tree import child, has, names
from vtonlab.engine.config.values import Within, parameters_of, problem_of
from vtonlab.engine.running import registries as running
from vtonlab.engine.running.optimizers import FiniteOptimWrapper

_LEVELS = Literal["CRITICAL", "FATAL", "ERROR", "WARNING", "WARN", "INFO", "DEBUG", "NOTSET"]


_LOADER = parameters_of(DataLoader)[0] | declared(
    batch_size=int,
    num_batch_per_epoch=int | None,
    disable_subprocess_warning=bool,
    sampler=dict,
    dataset=dict,
)
_FIXED: dict[str, Arguments] = {
    "env_cfg": declared(
        cudnn_benchmark=bool,
        mp_cfg=dict,
        dist_cfg=dict,
        resource_limit=Annotated[int, Within(1)],
    ),
    "env_cfg.mp_cfg": declared(
        mp_start_method=Literal[tuple(multiprocessing.get_all_start_methods())] | None,
        opencv_num_threads=Annotated[int, Within(0, 1024)],
    ),
    "env_cfg.dist_cfg": declared(
        backend=Literal[(*Backend.backend_list, "cpu:gloo,cuda:nccl")],
        timeout=Annotated[float, Within(1)] | None,
        init_backend=str,
        port=int | None,
    ),
    "randomness": declared(
        seed=Annotated[int, Within(0, 2**32 - 1)] | None, diff_rank_seed=bool, deterministic=bool
    ),
    "sharding": declared(module=str, blocks=Sequence[str], param_dtype=str | None),
    "auto_scale_lr": declared(base_batch_size=int, enable=bool),
    "custom_imports": parameters_of(import_modules_from_strings)[0],
    "train_dataloader": _LOADER,
    "val_dataloader": _LOADER,
    "test_dataloader": _LOADER,
}
_CLIP = declared(max_norm=float, norm_type=float)  # what `FiniteOptimWrapper` reads
_CLIP_MMENGINE = _CLIP | declared(
    type=str, clip_value=float, error_if_nonfinite=bool, foreach=bool | None
)
_PARAMWISE = declared(
    **dict.fromkeys(
        "lr_mult decay_mult bias_lr_mult bias_decay_mult norm_decay_mult flat_decay_mult "
        "dwconv_decay_mult dcn_offset_lr_mult".split(),
        float | None,
    ),
    bypass_duplicate=bool,
    custom_keys=dict[str, dict],
)
_MATCHES = declared(matcher=dict, root=str | None, maps=Sequence[str])  # match_store.open_store
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
# Dictionaries of parts by name that a user may switch off with None.
NAMED_PARTS = frozenset(["attention_losses", "losses", "image_losses"])
_ALL = [value for value in vars(ours).values() if isinstance(value, Registry)]
_ALL += [
    running.OPTIMIZERS,
    running.PARAM_SCHEDULERS,
    running.VISBACKENDS,
    running.LOG_PROCESSORS,
    running.EVALUATOR,
]
_ALL += [running.MODEL_WRAPPERS, mm.FUNCTIONS]
_ALWAYS = declared(type=Any, _scope_=str, _delete_=bool)
_PART = declared(modules=Sequence[str], paramwise_cfg=dict)  # see MultiOptimWrapperConstructor


def accepted_arguments(target: Any) -> frozenset[str]:
    """Argument names that a class or function takes by keyword: see `parameters_of`."""
    return frozenset(parameters_of(target)[0])


def top_keys() -> frozenset[str]:
    """Names that may stand at the top of a config."""
    return frozenset(_top_level())


def _top_level() -> Arguments:
    runner = dict(parameters_of(Runner)[0])
    runner.pop("cfg")
    return runner | declared(log_level=_LEVELS) | TOP_LEVEL


def check_config(config: Mapping[str, Any]) -> None:
    """Check every key of a config, and every value against the type that its class declares.

    Raises:
        ValueError: names the first unknown key or type with its path, and the nearest valid one; or
            the first value of a wrong type, and what is wanted.
    """
    node = _as_dict(config)
    scope, known = node.get("default_scope"), {"mmengine", *mm.MODELS.children}
    if scope is not None and not (isinstance(scope, str) and scope in known):
        raise ValueError(
            f"config key 'default_scope' is {scope!r}: wanted one of {', '.join(sorted(known))}"
        )
    _check(node, ())


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
            if not has(node, part):
                raise ValueError(unknown_key((*path, part), names(node), "--cfg-options"))
            node = child(node, part)
            path = (*path, part)
        valid = allowed_keys(node, path) if isinstance(node, Mapping) else None
        if not has(node, last) and last not in (valid or ()):
            known = valid if not path else [*names(node), *(valid or ())]
            raise ValueError(unknown_key((*path, last), known, "--cfg-options"))


def _as_dict(config: Any) -> Mapping[str, Any]:
    return config._cfg_dict if isinstance(config, Config) else config


def allowed_keys(node: Mapping[str, Any], path: tuple[str, ...]) -> Arguments | None:
    """Keys that the dictionary at ``path`` may have and what it declares of them; None where it is
    free (a plain argument).
    """
    dotted = ".".join(path)
    if not path:
        return _top_level()
    if dotted in _FIXED:
        return _FIXED[dotted]
    if path[0] == "optim_wrapper" and path[-1] == "paramwise_cfg":
        return _PARAMWISE
    if path[0] == "optim_wrapper" and path[-1] == "clip_grad":
        return _CLIP_MMENGINE
    if path[0].endswith("_dataloader") and path[-1] == "matches":
        return _MATCHES
    found = _resolve(node, path)
    if found is None:
        return None
    return parameters_of(found)[0] | _ALWAYS | _extras(node, path)


def _extras(node: Mapping[str, Any], path: tuple[str, ...]) -> Arguments:
    """What mmengine itself reads beside a type before the constructor sees the rest."""
    if path[0] in ("default_hooks", "custom_hooks"):
        extra = declared(priority=int | str)
        if node.get("type") == "EMAHook":
            kind = node.get("ema_type", "ExponentialMovingAverage")
            averaged = ours.MODELS.get(kind) if isinstance(kind, str) else None
            if averaged is None:
                raise ValueError(
                    f"config key '{'.'.join(path)}.ema_type' is {kind!r}, which is not registered"
                    + hint(str(kind), _registered([ours.MODELS]))
                )
            extra |= dict(parameters_of(averaged)[0])
            extra.pop("model", None)
        return extra
    if _is_wrapper(node, path):
        whole = declared(
            constructor=str, paramwise_cfg=dict | None, optimizer=dict, adapters=dict[str, dict]
        )
        return whole if len(path) == 1 else _PART | declared(optimizer=dict)
    if path[0] == "param_scheduler":
        return declared(convert_to_iter_based=bool)
    if path == ("train_cfg",):
        return declared(by_epoch=bool)
    return {}


def _is_wrapper(node: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    return path[0] == "optim_wrapper" and "optimizer" in node


def _resolve(node: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The class or function that the dictionary configures, or None for a plain dictionary."""
    wanted = node.get("type")
    if wanted is None:
        if "type" in node:
            raise ValueError(_not_a_type(path, None))
        near = [k for k in node if difflib.get_close_matches(str(k), ["type"], cutoff=0.74)]
        if near:
            raise ValueError(f"unknown key {'.'.join((*path, near[0]))!r}: did you mean 'type'?")
        wanted = _default_type(node, path)
    if wanted is None:
        return None
    if not isinstance(wanted, str):
        if not callable(wanted):
            raise ValueError(_not_a_type(path, wanted))
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
        + hint(wanted, names)
    )


def _not_a_type(path: tuple[str, ...], found: Any) -> str:
    return f"config key '{'.'.join(path)}.type' is {found!r}: wanted the name of a registered class"


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
    if path == ("param_scheduler",) and "type" not in node:
        _check_schedulers(node)
    if path == ("default_hooks",):
        _check_slots(node)
    if path and path[0] == "optim_wrapper" and isinstance(node.get("clip_grad"), Mapping):
        _check_clip(node, path)
    several = path == ("optim_wrapper",) and "optimizer" not in node
    if several:
        _check_parts(node)
    for key, value in node.items():
        if not path and (key.startswith("_") or callable(value) or inspect.ismodule(value)):
            continue  # private, or a name that the config file imported
        here = (*path, str(key))
        if valid is not None and key not in valid and not several:
            raise ValueError(unknown_key(here, valid, "the config"))
        if valid is not None and key in valid and path[:1] != ("released",):  # applied or not
            _check_value(value, valid[key], here)
        _check(value, here)


def _check_value(value: Any, parameter: inspect.Parameter, path: tuple[str, ...]) -> None:
    problem = problem_of(value, parameter)
    if problem is None or (value is None and path[-1] == "path"):  # filled with `pretrained`
        return
    if isinstance(value, Mapping) and problem_of({}, parameter) is None:
        for key, item in value.items():  # one of its values is wrong: name that
            if problem_of({key: item}, parameter):
                path, value = (*path, str(key)), item
                break
    found = repr(value)
    if len(found) > 80:
        found = found[:76] + " ..."
    default = parameter.default
    plain = isinstance(default, (bool, int, float, str)) or default is None
    hint = f" (without it: {default!r})" if plain else ""
    raise ValueError(f"config key {'.'.join(path)!r} is {found}: wanted {problem}{hint}")


def _check_schedulers(node: Mapping[str, Any]) -> None:
    """Of several optimisers: the name of each with its schedules."""
    for name, value in node.items():
        if not isinstance(value, (Mapping, list, tuple)):
            raise ValueError(
                f"param_scheduler has no 'type', and param_scheduler.{name}={value!r} is no "
                f"schedule of one of several optimisers"
            )


def _check_slots(hooks: Mapping[str, Any]) -> None:
    """Any name is a slot, but not one that a slip of the finger made of another."""
    names = [str(name) for name in hooks]
    for place, name in enumerate(names):
        if difflib.get_close_matches(name, names[:place], cutoff=0.85):
            raise ValueError(unknown_key(("default_hooks", name), names[:place], "the config"))


def _check_clip(node: Mapping[str, Any], path: tuple[str, ...]) -> None:
    """Our wrappers clip by the norm alone; mmengine's other ways would be passed over."""
    wrapper = _resolve(node, path)
    if inspect.isclass(wrapper) and issubclass(wrapper, FiniteOptimWrapper):
        for key in node["clip_grad"]:
            if key not in _CLIP:
                raise ValueError(unknown_key((*path, "clip_grad", key), _CLIP, "the config"))


def _check_parts(node: Mapping[str, Any]) -> None:
    """Several optimisers: a constructor that exists, and parts that have an optimiser each."""
    constructor = node.get("constructor")
    if constructor is None:
        raise ValueError(
            "optim_wrapper has no 'optimizer'; for several set constructor="
            "'MultiOptimWrapperConstructor' beside one part for each"
        )
    if not isinstance(constructor, str):
        raise ValueError(
            f"optim_wrapper.constructor is {constructor!r}: wanted the name of a registered class"
        )
    if running.OPTIM_WRAPPER_CONSTRUCTORS.get(constructor) is None:
        names = _registered([running.OPTIM_WRAPPER_CONSTRUCTORS])
        raise ValueError(
            f"optim_wrapper.constructor is {constructor!r}, which is not registered"
            + hint(constructor, names)
        )
    for name, part in node.items():
        if name not in {*_ALWAYS, "constructor", "paramwise_cfg"} and not (
            isinstance(part, Mapping) and "optimizer" in part
        ):
            raise ValueError(
                f"optim_wrapper.{name} has no optimizer: each part is dict(type=..., optimizer=...)"
            )
