"""Models whose parts are distributed one by one, as several optimisers need it.

``MMSeparateDistributedDataParallel`` wraps each child, so that its parameters are called
``generator.module.weight``. Checkpoints and averages call them ``generator.weight``, as one process
does.
"""

from mmengine.model import is_model_wrapper
from torch import nn


def wrapped_parts(model: nn.Module) -> list[str]:
    """Names of the children that are wrapped; none in a run of one process."""
    return [name for name, part in model.named_children() if is_model_wrapper(part)]


def plain_keys(state: dict, model: nn.Module) -> dict:
    """A dictionary by parameter name, with the names of one process."""
    return _renamed(state, {f"{part}.module.": f"{part}." for part in wrapped_parts(model)})


def wrapped_keys(state: dict, model: nn.Module) -> dict:
    """The way back."""
    return _renamed(state, {f"{part}.": f"{part}.module." for part in wrapped_parts(model)})


def _renamed(state: dict, prefixes: dict[str, str]) -> dict:
    if not prefixes:
        return state
    renamed = {}
    for key, value in state.items():
        found = next((before for before in prefixes if key.startswith(before)), None)
        renamed[key if found is None else prefixes[found] + key[len(found) :]] = value
    return renamed
