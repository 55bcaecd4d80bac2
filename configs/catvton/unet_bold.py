"""CatVTON on the synthetic benchmark: one UNet, person above garment, no attention loss.

From the generative half of the reference UNets' base, as CatVTON's is Stable Diffusion's UNet: it
has never seen two pictures in one canvas, so it learns for twice as long as a reference UNet.
"""

from mmengine.config import read_base

with read_base():
    from ..leffa.unet_bold_baseline import *

iterations = 600
partial_load = ["conditioner.reference_unet."]

model.conditioner.update(reference="self")
train_cfg.update(max_iters=iterations)
param_scheduler[1].update(end=iterations)
