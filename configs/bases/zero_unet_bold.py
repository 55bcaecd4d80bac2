"""The base of the synthetic benchmark's UNet with zero cross-attention."""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *
    from .._base_.inpainting_bold import *
    from .._base_.zero_unet_bold import *

iterations = 3000
val_dataloader = val_cfg = None

train_dataloader.update(batch_size=8, num_workers=0, persistent_workers=False)
train_dataloader.dataset.datasets[0].update(length=2000)
train_dataloader.dataset.datasets[1].update(length=1000)
train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-4, begin=100, end=iterations, by_epoch=False),
]
