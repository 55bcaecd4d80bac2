"""CORAL's losses on CatVTON's toy: they teach one of two heads to look across at the garment."""

from mmengine.config import read_base

with read_base():
    from ..coral.unet_bold import model as supervised
    from .unet_bold import *

model.attention_losses = supervised.attention_losses
model.attention_losses.correspondence.update(heads=[1])
model.attention_losses.entropy.update(heads=[1], start_iter=iterations // 2)
