"""CORAL's distillation teaches one of two heads to look across at the garment, and then lets go.

While it acts, its gradient outweighs the picture's; once attention has found the garment, arms and
background are learned better without it (chosen on `val`: README).
"""

from mmengine.config import read_base

with read_base():
    from ..coral.unet_bold import model as supervised
    from .unet_bold import *

model.attention_losses = dict(
    correspondence=dict(
        supervised.attention_losses.correspondence, heads=[1], end_iter=400, cooldown_iters=200
    ),
)
