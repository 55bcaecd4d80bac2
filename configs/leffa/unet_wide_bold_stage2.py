"""Second stage of the reference UNet that ships: 2500 iterations more, on twice the people, no
attention losses.

    python tools/train_stages.py configs/leffa/unet_wide_bold_baseline.py \\
        configs/leffa/unet_wide_bold_stage2.py --amp
"""

from mmengine.config import read_base

with read_base():
    from .unet_wide_bold_baseline import *

load_from = "work_dirs/leffa/unet_wide_bold_baseline/model.safetensors"
iterations = 2500

train_dataloader.dataset.update(length=6000)
train_cfg.update(max_iters=iterations, val_interval=500)
optim_wrapper.optimizer.update(lr=1e-3)
param_scheduler[1].update(end=iterations)
custom_hooks[1].update(interval=500)
