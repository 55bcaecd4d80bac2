"""Diffusion samplers, on diffusers schedulers."""

from vtonlab.samplers.flow_match_euler import FlowMatchEulerSampler

__all__ = ["FlowMatchEulerSampler"]
