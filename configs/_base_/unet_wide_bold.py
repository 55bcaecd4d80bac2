"""The reference UNet that draws best: twice as wide where a place is 4x4 pixels, and shown the pose
as finely as the picture.

A place holds noise, canvas, pose and what attention brings, 16 numbers each: 32 channels are few.
"""

from mmengine.config import read_base

with read_base():
    from .unet_bold import *

model.backbone.update(block_out_channels=(64, 40, 32))
model.conditioner.update(inputs=["mask", "agnostic", "pose_latents"])
