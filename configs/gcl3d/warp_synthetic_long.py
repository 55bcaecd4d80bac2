"""First stage of 3D-GCL's toy that ships: three times as long, on three times the people."""

from mmengine.config import read_base

with read_base():
    from .warp_synthetic import *

iterations = 1200

train_dataloader.dataset.update(length=1200)
train_cfg.update(max_iters=iterations, val_interval=400)
param_scheduler[1].update(end=iterations)
