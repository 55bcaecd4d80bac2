"""CatVTON at laptop size: one UNet, person above garment; all of it trains, on rendered people."""

from mmengine.config import read_base

with read_base():
    from ..leffa.unet_synthetic import *

model.attention_losses = dict()
model.conditioner.update(reference="self", inputs=["mask", "agnostic"])
