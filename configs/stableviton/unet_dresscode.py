"""StableVITON on Dress Code, upper body, as the paper's own model for it."""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

data_root = "data/dresscode"
_dataset = dict(type="DressCodeDataset", categories=["upper_body"])
train_dataloader.dataset.update(_dataset)
val_dataloader.dataset.update(_dataset)
test_dataloader.dataset.update(_dataset)
