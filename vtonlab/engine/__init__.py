"""Running things: configs, loops, hooks, optimiser wrappers, checkpoints."""

from vtonlab.engine.config import finalize, load_config
from vtonlab.engine.eight_bit import adamw_8bit
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
from vtonlab.engine.pair_test import PairTestLoop
from vtonlab.engine.runner import SafeRunner, build_runner

__all__ = [
    "AutocastOptimWrapper",
    "CounterRNGHook",
    "FiniteOptimWrapper",
    "NonFiniteError",
    "PairTestLoop",
    "ResumableTrainLoop",
    "SafeCheckpointHook",
    "SafeRunner",
    "SampleGridHook",
    "SampleTraceHook",
    "SaveOnSignalHook",
    "SavePicturesHook",
    "WarmupEMA",
    "adamw_8bit",
    "build_runner",
    "finalize",
    "load_config",
]
