"""What happens to a sample between reader and batch: every map and match moves together."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "body_flow": ["BodyFlow"],
        "colour": ["BrightnessContrast", "ColorJitter", "HSVShift"],
        "joint": ["RandomAffine", "RandomHFlip", "Resize"],
        "pose_channels": ["PoseChannels"],
        "pose_transfer": ["GenerateWholePicture"],
        "same_place": ["SamePlaceCorrespondences"],
    },
)
