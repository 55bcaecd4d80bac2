"""Data sets, their samplers and joint transforms (registries load them on demand)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["TryOnDataset"],
        "transforms.body_flow": ["BodyFlow"],
        "readers.deepfashion": ["DeepFashionDataset"],
        "readers.dresscode": ["DressCodeDataset"],
        "readers.files": ["FileTryOnDataset"],
        "mixture": ["MixtureDataset"],
        "readers.mpv": ["MPVDataset"],
        "readers.pair_list": ["PairListDataset"],
        "transforms.pose_channels": ["PoseChannels"],
        "transforms.pose_transfer": ["GenerateWholePicture"],
        "transforms.same_place": ["SamePlaceCorrespondences"],
        "samplers": ["EvalSampler", "ResumableSampler", "SampleKey"],
        "readers.shards": ["ShardDataset", "ShardSampler"],
        "transforms.captions": ["Captions"],
        "transforms.colour": ["BrightnessContrast", "ColorJitter", "HSVShift"],
        "transforms.joint": ["RandomAffine", "RandomHFlip", "Resize"],
        "transforms.task": ["Task"],
        "transforms.texture_completion": ["TextureCompletion"],
        "transforms.try_off": ["TryOff"],
        "readers.vitonhd": ["VITONHDDataset"],
    },
)
