"""StableVITON on the synthetic benchmark, first stage: its conditioner fine-tunes a base that can
inpaint, on bold prints; ``unet_bold_atv.py`` goes on. 128x96 pixels, minutes on two cores.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *
    from .._base_.fine_tune_bold import *
    from .._base_.zero_unet_bold import *

load_from = "zoo:base_zero_unet"
