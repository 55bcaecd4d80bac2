"""A trained model as a folder that diffusers, the hub and vtonlab read."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"folder": ["export_model"], "push": ["push_folder"]},
)
