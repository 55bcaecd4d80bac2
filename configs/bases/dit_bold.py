"""The base of the synthetic benchmark's joint DiT: inpainting with a reference picture."""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *
    from .._base_.dit_bold import *
    from .._base_.inpainting_bold import *

iterations = 4000
val_dataloader = val_cfg = None

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=200, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-4, begin=200, end=iterations, by_epoch=False),
]
