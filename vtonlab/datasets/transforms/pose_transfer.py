"""Pose transfer as a task of try-on data: the whole picture is generated."""

import numpy as np

from vtonlab.ops.agnostic import agnostic_picture
from vtonlab.registry import TRANSFORMS


@TRANSFORMS.register_module()
class GenerateWholePicture:
    """``mask`` of ones and an ``agnostic`` picture without anything left of the person.

    For samples whose ``garment`` is another photograph of the person: with it and the wanted
    ``pose``, the model draws the person anew (Leffa's pose transfer).
    """

    def __call__(self, sample: dict) -> dict:
        mask = np.ones_like(sample["mask"])
        return sample | {"mask": mask, "agnostic": agnostic_picture(sample["person"], mask)}
