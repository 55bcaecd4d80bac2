"""Leffa, first of three stages: VITON-HD at 512x384, diffusion loss alone, batch 256.

Run by ``tools/train_stages.py`` (see ``unet_vitonhd.py``).
"""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

load_from = None
size = (512, 384)
steps, accumulate = 10000, 4

model.update(size=size)
model.attention_losses = dict()
train_dataloader.update(batch_size=8)  # 8 processes x 8 x 4 = 256
train_dataloader.dataset.update(size=size, maps=maps)
val_dataloader.dataset.update(size=size)
test_dataloader.dataset.update(size=size)
train_cfg.update(max_iters=steps * accumulate)
