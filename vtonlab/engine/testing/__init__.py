"""Testing a checkpoint: the loop that draws pair by pair, and the scores of what was drawn."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "pair_loop": ["PairTestLoop"],
        "run": ["test"],
        "val_loop": ["PairValLoop"],
    },
)
