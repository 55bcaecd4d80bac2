"""Hooks: what happens around a training step."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checkpointing": ["SafeCheckpointHook"],
        "counter_rng": ["CounterRNGHook"],
        "dead_losses": ["DeadLossHook"],
        "export": ["DiffusersExportHook"],
        "guards": ["SampleTraceHook", "SaveOnSignalHook"],
        "loss_shares": ["LossShareHook"],
        "memory": ["MemoryReportHook"],
        "preview": ["SampleGridHook"],
        "runtime_info": ["LateRuntimeInfoHook"],
        "save_attention": ["SaveAttentionHook"],
        "save_pictures": ["SavePicturesHook"],
        "supervised_shares": ["SupervisedShareHook"],
    },
)
