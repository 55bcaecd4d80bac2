"""``dit_synthetic_try_off.py`` without attention losses."""

from mmengine.config import read_base

with read_base():
    from .dit_synthetic_try_off import *

model.attention_losses = {}
