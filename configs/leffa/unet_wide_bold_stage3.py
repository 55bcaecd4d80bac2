"""Third stage of the reference UNet that ships: 3500 iterations more, on four times the people of
the first, no attention losses.

    python tools/train_stages.py configs/leffa/unet_wide_bold_baseline.py \\
        configs/leffa/unet_wide_bold_stage2.py configs/leffa/unet_wide_bold_stage3.py --amp
"""

from mmengine.config import read_base

with read_base():
    from .unet_wide_bold_stage2 import *

load_from = "work_dirs/leffa/unet_wide_bold_stage2/model.safetensors"
iterations = 3500

train_dataloader.dataset.update(length=12000)
train_cfg.update(max_iters=iterations)
param_scheduler[1].update(end=iterations)
