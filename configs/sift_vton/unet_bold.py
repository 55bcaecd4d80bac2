"""SIFT-VTON on the synthetic benchmark: StableVITON's toy with supervised attention.

SIFT finds too little on pictures of 128x96, so the matches are samples of the true flow.
"""

from mmengine.config import read_base

with read_base():
    from ..stableviton.unet_bold import *

model.attention_losses = dict(
    keypoints=dict(type="KeypointAttentionLoss", layers=read[3:], weight=0.1, t_max=None),
)
