"""Leffa's toy that ships: two stages of its backbone without attention losses, then its flow loss,
as the paper's last stage.

    python tools/train_stages.py configs/leffa/unet_wide_bold_baseline.py \\
        configs/leffa/unet_wide_bold_stage2.py configs/leffa/unet_wide_bold.py --amp
"""

from mmengine.config import read_base

with read_base():
    from .unet_bold import model as narrow
    from .unet_wide_bold_stage3 import *

model.attention_losses = narrow.attention_losses
model.attention_losses.flow.update(heads=[0])  # that the base copies by
