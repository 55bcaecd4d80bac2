"""Leffa, second of three stages: VITON-HD at 1024x768, diffusion loss alone, batch 64.

Run by ``tools/train_stages.py`` (see ``unet_vitonhd.py``).
"""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

load_from = "work_dirs/leffa/unet_vitonhd_stage1/model.safetensors"
load_other_size = True  # 512x384 before
steps, accumulate = 36000, 4

model.attention_losses = dict()
train_dataloader.dataset.update(maps=maps)
train_cfg.update(max_iters=steps * accumulate)
