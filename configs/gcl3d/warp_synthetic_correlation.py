"""The ablation's second row: global correlation, but no loss knows the body."""

from mmengine.config import read_base

with read_base():
    from .warp_synthetic import *

model.update(flow_loss=None)
model.attention_losses = dict()
