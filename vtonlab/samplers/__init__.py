"""Diffusion samplers, on diffusers schedulers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["DiffusionSampler", "guide"],
        "ddpm_family": ["DDIMSampler", "DDPMSampler", "PLMSSampler"],
        "flow_match_euler": ["FlowMatchEulerSampler"],
    },
)
