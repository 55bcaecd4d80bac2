"""Data sets, their samplers and joint transforms (registries load them on demand)."""

from vtonlab.datasets.samplers import EvalSampler, ResumableSampler, SampleKey

__all__ = ["EvalSampler", "ResumableSampler", "SampleKey"]
