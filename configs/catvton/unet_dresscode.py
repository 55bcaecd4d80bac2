"""CatVTON's setting on Dress Code, all three categories; also for the authors' mixed weights."""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

data_root = "data/dresscode"
model.update(categories=["upper_body", "lower_body", "dresses"])
train_dataloader.dataset.update(type="DressCodeDataset")
val_dataloader.dataset.update(type="DressCodeDataset")
test_dataloader.dataset.update(type="DressCodeDataset")
