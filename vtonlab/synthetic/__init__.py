"""People and garments drawn with their true correspondence."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dataset": ["SyntheticTryOn"],
    },
)
