"""``dit_synthetic_finetune.py`` without its two attention losses: what CORAL is compared with."""

from mmengine.config import read_base

with read_base():
    from .dit_synthetic_finetune import *

model.attention_losses = dict()
