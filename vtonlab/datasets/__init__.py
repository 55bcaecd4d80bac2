"""Data sets, their samplers and joint transforms (registries load them on demand)."""

from vtonlab.datasets.base import TryOnDataset
from vtonlab.datasets.samplers import EvalSampler, ResumableSampler, SampleKey
from vtonlab.datasets.synthetic import SyntheticTryOn
from vtonlab.datasets.transforms import ColorJitter, RandomAffine, RandomHFlip, Resize
from vtonlab.datasets.vitonhd import VITONHDDataset

__all__ = [
    "ColorJitter",
    "EvalSampler",
    "RandomAffine",
    "RandomHFlip",
    "Resize",
    "ResumableSampler",
    "SampleKey",
    "SyntheticTryOn",
    "TryOnDataset",
    "VITONHDDataset",
]
