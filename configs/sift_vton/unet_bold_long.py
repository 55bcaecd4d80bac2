"""SIFT-VTON's toy that ships: 4000 iterations from the base, supervised in the first half."""

from mmengine.config import read_base

with read_base():
    from ..stableviton.unet_bold_long import *
    from .unet_bold import model as supervised

model.attention_losses = supervised.attention_losses
model.attention_losses.keypoints.update(end_iter=iterations // 2, cooldown_iters=iterations // 4)
