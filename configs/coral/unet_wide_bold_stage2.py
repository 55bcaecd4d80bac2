"""Second stage of CORAL's reference UNet that ships: its losses have found the garment and let go.

    python tools/train_stages.py configs/coral/unet_wide_bold.py \\
        configs/coral/unet_wide_bold_stage2.py --amp
"""

from mmengine.config import read_base

with read_base():
    from ..leffa.unet_wide_bold_stage2 import *

load_from = "work_dirs/coral/unet_wide_bold/model.safetensors"
