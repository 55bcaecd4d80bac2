"""Leffa's pose transfer, second of three stages: DeepFashion at 512x352, diffusion loss alone.

Run by ``tools/train_stages.py`` (see ``unet_deepfashion_pose.py``).
"""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

data_root = "data/deepfashion"
load_from = "work_dirs/leffa/unet_deepfashion_pose_stage1/model.safetensors"
load_other_size = True  # 256x176 before
size = (512, 352)
steps, accumulate = 80000, 4

model.update(size=size, categories=["upper_body", "lower_body", "dresses"])
model.attention_losses = dict()
model.conditioner.update(inputs=["pose"])  # 7 channels with the noisy latents
dataset = dict(type="DeepFashionDataset", size=size, task="pose_transfer")
train_maps = ["agnostic", "mask", "pose"]
train_dataloader.update(
    batch_size=2,  # 8 processes x 2 x 4 = 64, ours: the paper gives none
    dataset=dict(**dataset, split="train", holdout=held_out, maps=train_maps),
)
val_dataloader.update(
    dataset=dict(**dataset, split="val", holdout=held_out, maps=["agnostic", "mask", "pose"]),
)
test_dataloader.update(
    dataset=dict(**dataset, split="test", maps=["agnostic", "mask", "pose"]),
)
train_cfg.update(max_iters=steps * accumulate)
