"""Configs: reading a file, checking every key of it, refusing what could run code."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "check": ["check_config", "check_options"],
        "released": ["released_options"],
        "load": ["LOADERS", "RunConfig", "finalize", "load_config"],
    },
)
