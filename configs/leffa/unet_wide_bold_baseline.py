"""First stage of the reference UNet that ships, without attention losses: 3000 iterations from the
wide base.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.unet_wide_bold import model as wide
    from .unet_bold_baseline import *

load_from = "zoo:base_unet_wide"
iterations = 3000

model = wide
model.attention_losses = dict()
model.sampler.update(timestep_spacing="training")
train_dataloader.dataset.update(length=3000)
train_cfg.update(max_iters=iterations, val_interval=1000)
param_scheduler[1].update(end=iterations)
custom_hooks[1].update(interval=1000)
