"""CORAL's distillation teaches one head of CatVTON's UNet to look across, and then lets go.

While it acts, its gradient outweighs the picture's; once attention has found the garment, arms and
background are learned better without it (chosen on `val`, narrow base: configs/catvton/README.md).
"""

from mmengine.config import read_base

with read_base():
    from ..coral.unet_wide_bold import model as supervised
    from .unet_wide_bold import *

model.attention_losses = dict(
    correspondence=dict(
        supervised.attention_losses.correspondence, end_iter=400, cooldown_iters=200
    ),
)
