"""CORAL's losses on the reference UNet that ships, its first stage: 3000 iterations from the wide
base.
"""

from mmengine.config import read_base

with read_base():
    from ..leffa.unet_wide_bold_baseline import *
    from .unet_bold import model as narrow

copying = [0]  # the head that the base copies by; the other goes on looking at the person

model.attention_losses = narrow.attention_losses
model.attention_losses.correspondence.update(heads=copying)
model.attention_losses.entropy.update(heads=copying, start_iter=iterations // 2)
