"""Pose transfer on FLUX.1-Kontext: a photograph of a person and a pose in, the person in that pose
out; DeepFashion, 512x352, LoRA.

The photograph is the reference whose tokens are the keys; the whole picture is generated.
"""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

data_root = "data/deepfashion"
size = (512, 352)
model.update(size=size, categories=["upper_body", "lower_body", "dresses"])
model.conditioner.update(references=[dict(role="garment"), dict(role="pose")])
model.conditioner.prompt.update(
    prompts="The person of the first picture in the pose of the second picture."
)
_people = dict(
    type="DeepFashionDataset", task="pose_transfer", size=size, maps=["mask", "pose", "worn_mask"]
)
for _loader in (train_dataloader, val_dataloader, test_dataloader):
    _loader["dataset"].update(**_people, paint_hair=False)
