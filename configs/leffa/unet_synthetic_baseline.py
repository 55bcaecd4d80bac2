"""``unet_synthetic.py`` without its flow loss: what it is compared with."""

from mmengine.config import read_base

with read_base():
    from .unet_synthetic import *

model.attention_losses = dict()
