"""CatVTON on the synthetic benchmark: one UNet, person above garment, no attention loss.

From the generative half of the reference UNets' base, as CatVTON's is Stable Diffusion's UNet.
"""

from mmengine.config import read_base

with read_base():
    from ..leffa.unet_bold_baseline import *

model.conditioner.update(reference="self")
partial_load = ["conditioner.reference_unet."]
