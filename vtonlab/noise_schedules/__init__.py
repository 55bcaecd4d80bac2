"""Training-side noising and targets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ddpm": ["DDPMSchedule"],
        "flow_matching": ["FlowMatchingSchedule"],
    },
)
