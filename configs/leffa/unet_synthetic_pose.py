"""Leffa's pose transfer at laptop size: the person of one photograph in the pose of another.

After a first stage, as ``unet_synthetic.py``:

    python tools/train_stages.py configs/leffa/unet_synthetic_pose_stage1.py \
        configs/leffa/unet_synthetic_pose.py
"""

from mmengine.config import read_base

with read_base():
    from .unet_synthetic import *

for loader in (train_dataloader, val_dataloader, test_dataloader):
    loader.dataset.update(
        setting="person_to_person", transforms=[dict(type="GenerateWholePicture")]
    )
