"""SIFT-VTON at laptop size: ``configs/stableviton/unet_synthetic.py`` with supervised attention.

SIFT finds nothing on pictures of 64x48, so the matches are samples of the true flow.
"""

from mmengine.config import read_base

with read_base():
    from ..stableviton.unet_synthetic import *

model.attention_losses = dict(
    keypoints=dict(
        type="KeypointAttentionLoss",
        layers=["blocks.*.attn2"],  # both; the paper's model has three resolutions
        weight=0.1,  # the paper fine-tunes at 5e-4, this starts from nothing
        t_max=None,  # all noise levels; the paper's gate is 500
    )
)
