"""``dit_bold.py`` without its two attention losses: what CORAL is compared with."""

from mmengine.config import read_base

with read_base():
    from .dit_bold import *

model.attention_losses = dict()
