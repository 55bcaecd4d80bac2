"""CatVTON on the synthetic benchmark, from the wide base: ten minutes of a core in bfloat16.

From the generative half of the base, which has never seen two pictures in one canvas.
"""

from mmengine.config import read_base

with read_base():
    from ..leffa.unet_wide_bold_baseline import *

iterations = 600
partial_load = ["conditioner.reference_unet."]

model.conditioner.update(reference="self")
train_cfg.update(max_iters=iterations, val_interval=300)
param_scheduler[1].update(end=iterations)
custom_hooks[1].update(interval=300)
optim_wrapper.update(type="AutocastOptimWrapper")
