"""SIFT-VTON at laptop size: ``configs/stableviton/unet_synthetic.py`` with supervised attention."""

from mmengine.config import read_base

with read_base():
    from ..stableviton.unet_synthetic import *

model.attention_losses = dict(
    keypoints=dict(
        type="KeypointAttentionLoss",
        layers=["blocks.1.*.attn2"],
        weight=0.05,
        t_max=None,
    )
)
