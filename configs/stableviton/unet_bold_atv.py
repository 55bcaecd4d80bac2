"""StableVITON on the synthetic benchmark: total variation of attention in the second half.

The paper's second stage starts from the first; here both start from the base, so that they have
learned for as long as the baseline has, and the loss sets in once attention has found its places.
"""

from mmengine.config import read_base

with read_base():
    from .unet_bold import *

model.attention_losses = dict(
    smoothness=dict(  # chosen on `val`: 0.05 costs half a point, from the first step on five
        type="AttentionTVLoss",
        layers=read[3:],  # the base copies through it
        weight=0.005,
        start_iter=iterations // 2,
        warmup_iters=50,
    ),
)
