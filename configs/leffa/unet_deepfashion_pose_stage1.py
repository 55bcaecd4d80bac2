"""Leffa's pose transfer, first of three stages: DeepFashion at 256x176, diffusion loss alone.

Run by ``tools/train_stages.py`` (see ``unet_deepfashion_pose.py``).
"""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

data_root = "data/deepfashion"
load_from = None
size = (256, 176)
steps, accumulate = 80000, 4

model.update(size=size, categories=["upper_body", "lower_body", "dresses"])
model.attention_losses = dict()
model.conditioner.update(inputs=["pose"])  # 7 channels with the noisy latents
dataset = dict(type="DeepFashionDataset", size=size, task="pose_transfer")
train_maps = ["agnostic", "mask", "pose"]
train_dataloader.update(
    batch_size=8,  # 8 processes x 8 x 4 = 256
    dataset=dict(**dataset, split="train", holdout=held_out, maps=train_maps),
)
val_dataloader.update(
    dataset=dict(**dataset, split="val", holdout=held_out, maps=["agnostic", "mask", "pose"]),
)
test_dataloader.update(
    dataset=dict(**dataset, split="test", maps=["agnostic", "mask", "pose"]),
)
train_cfg.update(max_iters=steps * accumulate)
