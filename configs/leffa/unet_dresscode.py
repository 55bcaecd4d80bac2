"""Leffa on Dress Code, all three categories: the last stage, as ``unet_vitonhd.py``.

Its first two stages are those of VITON-HD on this data; the three in one command:

    python tools/train_stages.py configs/leffa/unet_vitonhd_stage1.py \
        configs/leffa/unet_vitonhd_stage2.py configs/leffa/unet_dresscode.py \
        --work-dir work_dirs/dresscode --cfg-options data_root=DIR \
        train_dataloader.dataset.type=DressCodeDataset \
        val_dataloader.dataset.type=DressCodeDataset \
        test_dataloader.dataset.type=DressCodeDataset \
        model.categories="[upper_body,lower_body,dresses]"
"""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

data_root = "data/dresscode"
model.update(categories=["upper_body", "lower_body", "dresses"])
released["test_dataloader.dataset.transforms"] = [dict(type="PoseChannels", show="part")]
train_dataloader.dataset.update(type="DressCodeDataset")
val_dataloader.dataset.update(type="DressCodeDataset")
test_dataloader.dataset.update(type="DressCodeDataset")
