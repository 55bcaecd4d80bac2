"""Leffa's loss on CORAL's toy: a FLUX transformer with panels, by config alone."""

from mmengine.config import read_base

with read_base():
    from ..coral.dit_synthetic import *

model.attention_losses = dict(
    flow=dict(
        type="AttentionFlowLoss",
        layers=supervised_layers,
        weight=0.1,
        temperature=1.0,
        upsample=False,
        t_max=None,
    ),
)
