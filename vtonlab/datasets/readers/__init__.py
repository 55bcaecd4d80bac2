"""Data sets on disk: where their files lie, lists of pairs, and one reader for each layout."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "deepfashion": ["DeepFashionDataset"],
        "dresscode": ["DressCodeDataset"],
        "files": ["FileTryOnDataset"],
        "mpv": ["MPVDataset"],
        "pair_list": ["PairListDataset"],
        "shards": ["ShardDataset", "ShardSampler"],
        "vitonhd": ["VITONHDDataset"],
    },
)
