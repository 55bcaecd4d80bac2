"""CORAL's two losses on the reference UNet, by config alone."""

from mmengine.config import read_base

with read_base():
    from .unet_bold import *

model.attention_losses = dict(
    correspondence=dict(
        type="CorrespondenceDistillationLoss",
        form="cross_entropy",
        head_reduction="none",
        layers=read,
        weight=0.1,
        t_max=None,
    ),
    entropy=dict(
        type="AttentionEntropyLoss",
        layers=read,
        weight=0.05,
        t_max=None,
        start_iter=200,
        warmup_iters=100,
    ),
)
