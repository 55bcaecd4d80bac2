"""From photographs to the maps that try-on needs: keypoints, parse, matte, rendering, masks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["weights"],
    submod_attrs={
        "base": [
            "DensePoseEstimator",
            "GarmentMaskEstimator",
            "KeypointEstimator",
            "MapFiles",
            "MatteEstimator",
            "ParseEstimator",
            "Person",
            "PreparationError",
        ],
        "blazepose": ["BlazePose"],
        "garments": ["PlainBackground"],
        "map_files": ["DensePoseFiles", "ParseFiles"],
        "mattes": ["SelfieMatte"],
        "parsers": ["TransformersParser"],
        "preparation": ["Preparation", "Prepared", "prepare"],
        "pseudo_parse": ["pseudo_parse"],
        "renderings": ["LandmarkDensePose"],
        "simcc_pose": ["SimCCPose"],
    },
)
