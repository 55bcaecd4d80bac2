"""``unet_bold.py`` without its attention loss: what Leffa is compared with."""

from mmengine.config import read_base

with read_base():
    from .unet_bold import *

model.attention_losses = dict()
