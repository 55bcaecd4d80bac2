"""Data sets, their samplers and joint transforms (registries load them on demand)."""

from vtonlab.datasets.base import TryOnDataset
from vtonlab.datasets.samplers import EvalSampler, ResumableSampler, SampleKey
from vtonlab.datasets.vitonhd import VITONHDDataset

__all__ = ["EvalSampler", "ResumableSampler", "SampleKey", "TryOnDataset", "VITONHDDataset"]
