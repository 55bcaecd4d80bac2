"""Leffa's loss on CatVTON's toy, by config alone."""

from mmengine.config import read_base

with read_base():
    from ..leffa.unet_synthetic import *

model.conditioner.update(reference="self", inputs=["mask", "agnostic"])
