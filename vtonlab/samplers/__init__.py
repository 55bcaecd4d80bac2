"""Diffusion samplers, on diffusers schedulers."""

from vtonlab.samplers.base import DiffusionSampler, guide
from vtonlab.samplers.ddpm_family import DDIMSampler, DDPMSampler, PLMSSampler
from vtonlab.samplers.flow_match_euler import FlowMatchEulerSampler

__all__ = [
    "DDIMSampler",
    "DDPMSampler",
    "DiffusionSampler",
    "FlowMatchEulerSampler",
    "PLMSSampler",
    "guide",
]
