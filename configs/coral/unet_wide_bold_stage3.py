"""Third stage of CORAL's reference UNet that ships, without losses as its second.

    python tools/train_stages.py configs/coral/unet_wide_bold.py \\
        configs/coral/unet_wide_bold_stage2.py configs/coral/unet_wide_bold_stage3.py --amp
"""

from mmengine.config import read_base

with read_base():
    from ..leffa.unet_wide_bold_stage3 import *

load_from = "work_dirs/coral/unet_wide_bold_stage2/model.safetensors"
