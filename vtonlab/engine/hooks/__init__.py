"""Hooks: what happens around a training step."""

from vtonlab.engine.hooks.checkpointing import SafeCheckpointHook
from vtonlab.engine.hooks.counter_rng import CounterRNGHook
from vtonlab.engine.hooks.export import DiffusersExportHook
from vtonlab.engine.hooks.guards import SampleTraceHook, SaveOnSignalHook
from vtonlab.engine.hooks.loss_shares import LossShareHook
from vtonlab.engine.hooks.memory import MemoryReportHook
from vtonlab.engine.hooks.preview import SampleGridHook
from vtonlab.engine.hooks.save_attention import SaveAttentionHook
from vtonlab.engine.hooks.save_pictures import SavePicturesHook

__all__ = [
    "CounterRNGHook",
    "DiffusersExportHook",
    "LossShareHook",
    "MemoryReportHook",
    "SafeCheckpointHook",
    "SampleGridHook",
    "SampleTraceHook",
    "SaveAttentionHook",
    "SaveOnSignalHook",
    "SavePicturesHook",
]
