"""Checkpoint files, written whole and read without running code, and models made of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "files": ["find_latest", "read_checkpoint", "save_checkpoint_file"],
        "models": ["load_model"],
    },
)
