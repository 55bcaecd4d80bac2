"""Leffa on the synthetic benchmark: its flow loss fine-tunes a base that can inpaint, on bold
prints. 128x96 pixels, minutes on two cores.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *
    from .._base_.fine_tune_bold import *
    from .._base_.unet_bold import *

load_from = "zoo:base_unet"

model.attention_losses = dict(
    flow=dict(
        type="AttentionFlowLoss",
        layers=read[1:],  # the base copies through the last block; chosen on `val`
        weight=0.2,
        temperature=1.0,
        upsample=False,  # a place is 4x4 pixels
        min_grid_ratio=1 / 8,
        t_max=None,
    ),
)
