"""Memory of a training run: estimated before it starts, counted while it runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "estimate": ["Sharing", "estimate_memory", "report"],
        "live": ["LiveMemory"],
    },
)
