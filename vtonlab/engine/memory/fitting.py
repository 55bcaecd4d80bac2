"""The fastest recomputation with which a training fits into a card."""

import copy
from typing import Any

from mmengine.config import Config

from vtonlab.backbones.recomputation import LADDER
from vtonlab.engine.memory.estimate import estimate_memory, report


def choose_recomputation(
    config: Config, available: int, gpus: int = 1
) -> tuple[bool | dict[str, Any], dict[str, int]]:
    """A value of ``model.gradient_checkpointing`` and the memory it needs (`estimate_memory`).

    The first step of ``LADDER`` that fits; the last, True, where none does. Blocks that are
    compiled keep no attention apart.

    Args:
        config: a finished config of a `TryOnDiffusion`.
        available: bytes of the card.
        gpus: processes that share out what the config's ``sharding`` says.
    """
    compiled = bool(config.model.get("compile"))
    steps = [
        step
        for step in LADDER
        if not (compiled and isinstance(step, dict) and step.get("keep_attention"))
    ]
    known: dict[int, dict[str, int]] = {}

    def fits(place: int) -> bool:
        tried = copy.deepcopy(config)
        tried.model.gradient_checkpointing = copy.deepcopy(steps[place])
        known[place] = estimate_memory(tried, "cuda", gpus)
        return report(known[place], available)[1]

    low, high = 0, len(steps) - 1  # each step needs less memory than the one before
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    if low not in known:
        fits(low)
    return copy.deepcopy(steps[low]), known[low]
