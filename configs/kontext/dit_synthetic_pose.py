"""Pose transfer at laptop size: the person of one photograph is drawn anew in the pose of another.

The photograph is the reference whose tokens are the keys; the wanted pose is shown beside it.
"""

from mmengine.config import read_base

with read_base():
    from .dit_synthetic import *

model.conditioner.update(references=[dict(role="garment"), dict(role="pose")])
for _loader in (train_dataloader, val_dataloader, test_dataloader):
    _loader["dataset"].update(
        setting="person_to_person", transforms=[dict(type="GenerateWholePicture")]
    )
