"""Running things: configs, loops, hooks, optimiser wrappers, checkpoints."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config.load": ["finalize", "load_config"],
        "hooks.checkpointing": ["SafeCheckpointHook"],
        "hooks.counter_rng": ["CounterRNGHook"],
        "hooks.export": ["DiffusersExportHook"],
        "hooks.guards": ["SampleTraceHook", "SaveOnSignalHook"],
        "hooks.loss_shares": ["LossShareHook"],
        "hooks.memory": ["MemoryReportHook"],
        "hooks.preview": ["SampleGridHook"],
        "hooks.save_attention": ["SaveAttentionHook"],
        "hooks.save_pictures": ["SavePicturesHook"],
        "running.eight_bit": ["adamw_8bit"],
        "running.ema": ["WarmupEMA"],
        "running.loops": ["ResumableTrainLoop"],
        "running.optimizers": ["AutocastOptimWrapper", "FiniteOptimWrapper", "NonFiniteError"],
        "running.runner": ["SafeRunner", "build_runner"],
        "running.training": ["train"],
        "testing.pair_loop": ["PairTestLoop"],
    },
)
