"""StableVITON's toy that ships: 4000 iterations from the base, its total variation in the second
half.
"""

from mmengine.config import read_base

with read_base():
    from .unet_bold_atv import *

iterations = 4000

model.attention_losses.smoothness.update(start_iter=iterations // 2)
train_dataloader.dataset.update(length=6000)
train_cfg.update(max_iters=iterations, val_interval=1000)
param_scheduler[1].update(end=iterations)
custom_hooks[1].update(interval=1000)
