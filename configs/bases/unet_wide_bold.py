"""The base of the synthetic benchmark's wide reference UNet."""

from mmengine.config import read_base

with read_base():
    from .._base_.unet_wide_bold import model as wide
    from .unet_bold import *

model = wide
