"""Running things: configs, loops, hooks, optimiser wrappers, checkpoints."""

from vtonlab.engine.config import finalize, load_config
from vtonlab.engine.ema import WarmupEMA
from vtonlab.engine.hooks import (
    CounterRNGHook,
    SafeCheckpointHook,
    SampleGridHook,
    SampleTraceHook,
    SaveOnSignalHook,
    SavePicturesHook,
)
from vtonlab.engine.loops import ResumableTrainLoop
from vtonlab.engine.optim import AutocastOptimWrapper, FiniteOptimWrapper, NonFiniteError
from vtonlab.engine.runner import SafeRunner, build_runner

__all__ = [
    "AutocastOptimWrapper",
    "CounterRNGHook",
    "FiniteOptimWrapper",
    "NonFiniteError",
    "ResumableTrainLoop",
    "SafeCheckpointHook",
    "SafeRunner",
    "SampleGridHook",
    "SampleTraceHook",
    "SaveOnSignalHook",
    "SavePicturesHook",
    "WarmupEMA",
    "build_runner",
    "finalize",
    "load_config",
]
