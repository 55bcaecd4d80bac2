"""Leffa's pose transfer, the last of three stages: DeepFashion at 512x352 with the flow loss.

The person of ``garment`` in the pose of ``pose``; the whole picture is generated. The paper's base,
SD-1.5; the authors released one on SDXL (``unet_deepfashion_pose_sdxl.py``). The three stages:

    python tools/train_stages.py configs/leffa/unet_deepfashion_pose_stage1.py \
        configs/leffa/unet_deepfashion_pose_stage2.py configs/leffa/unet_deepfashion_pose.py \
        --cfg-options data_root=DIR
"""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

data_root = "data/deepfashion"
load_from = "work_dirs/leffa/unet_deepfashion_pose_stage2/model.safetensors"
size = (512, 352)
steps, accumulate = 24000, 4

model.update(size=size, categories=["upper_body", "lower_body", "dresses"])
model.conditioner.update(inputs=["pose"])  # 7 channels with the noisy latents
dataset = dict(type="DeepFashionDataset", size=size, task="pose_transfer")
train_maps = ["agnostic", "mask", "pose", "worn_mask"]
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
