"""A run: the runner, its loops, optimisers, averages, and the ways a training goes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ema": ["WarmupEMA"],
        "loops": ["ResumableTrainLoop"],
        "optimizers": ["AutocastOptimWrapper", "FiniteOptimWrapper", "NonFiniteError"],
        "runner": ["SafeRunner", "build_runner"],
        "training": ["dry_run", "train"],
    },
)
