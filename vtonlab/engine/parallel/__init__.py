"""Several processes: how they find each other, and how one model is shared out over them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "sharding": ["shard_model"],
    },
)
