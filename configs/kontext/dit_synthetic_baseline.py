"""``dit_synthetic.py`` without attention losses."""

from mmengine.config import read_base

with read_base():
    from .dit_synthetic import *

model.attention_losses = {}
