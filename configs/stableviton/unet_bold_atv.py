"""StableVITON on the synthetic benchmark: total variation of attention from the first step.

The paper's second stage starts from the first; here both start from the base, so that they have
learned for as long as the baseline has.
"""

from mmengine.config import read_base

with read_base():
    from .unet_bold import *

model.attention_losses = dict(
    smoothness=dict(type="AttentionTVLoss", layers=read, weight=0.05),
)
