"""Hooks: what happens around a training step."""

from vtonlab.engine.hooks.checkpointing import SafeCheckpointHook
from vtonlab.engine.hooks.counter_rng import CounterRNGHook
from vtonlab.engine.hooks.guards import SampleTraceHook, SaveOnSignalHook

__all__ = ["CounterRNGHook", "SafeCheckpointHook", "SampleTraceHook", "SaveOnSignalHook"]
