"""CORAL's losses on the synthetic benchmark's reference UNet, whose attention is fine: 4x4 pixels.

The paper's backbone is a DiT (``dit_bold.py``); a laptop affords it tokens of 8x8 pixels only.
"""

from mmengine.config import read_base

with read_base():
    from ..leffa.unet_bold_baseline import *

copies = read[1:]  # the base copies through the last block

model.attention_losses = dict(
    correspondence=dict(
        type="CorrespondenceDistillationLoss",
        form="cross_entropy",
        head_reduction="none",
        layers=copies,
        weight=0.5,
        t_max=None,
    ),
    entropy=dict(
        type="AttentionEntropyLoss",
        layers=copies,
        weight=0.05,
        t_max=None,
        start_iter=150,
        warmup_iters=100,
    ),
)
