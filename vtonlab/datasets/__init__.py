"""Data sets, their samplers and joint transforms (registries load them on demand)."""

from vtonlab.datasets.base import TryOnDataset
from vtonlab.datasets.body_flow import BodyFlow
from vtonlab.datasets.deepfashion import DeepFashionDataset
from vtonlab.datasets.dresscode import DressCodeDataset
from vtonlab.datasets.files import FileTryOnDataset
from vtonlab.datasets.mpv import MPVDataset
from vtonlab.datasets.pair_list import PairListDataset
from vtonlab.datasets.pose_transfer import GenerateWholePicture
from vtonlab.datasets.same_place import SamePlaceCorrespondences
from vtonlab.datasets.samplers import EvalSampler, ResumableSampler, SampleKey
from vtonlab.datasets.shards import ShardDataset, ShardSampler
from vtonlab.datasets.synthetic import SyntheticTryOn
from vtonlab.datasets.transforms import ColorJitter, RandomAffine, RandomHFlip, Resize
from vtonlab.datasets.vitonhd import VITONHDDataset

__all__ = [
    "BodyFlow",
    "ColorJitter",
    "DeepFashionDataset",
    "DressCodeDataset",
    "EvalSampler",
    "FileTryOnDataset",
    "GenerateWholePicture",
    "MPVDataset",
    "PairListDataset",
    "RandomAffine",
    "RandomHFlip",
    "Resize",
    "ResumableSampler",
    "SamePlaceCorrespondences",
    "SampleKey",
    "ShardDataset",
    "ShardSampler",
    "SyntheticTryOn",
    "TryOnDataset",
    "VITONHDDataset",
]
