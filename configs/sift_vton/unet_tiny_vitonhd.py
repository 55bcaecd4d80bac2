"""SIFT-VTON on real photographs, on a CPU in minutes: a tiny UNet learns a few people by heart.

First the matches, then training, then the pictures of the people it was trained on:

    python tools/extract_matches.py configs/sift_vton/unet_tiny_vitonhd.py \
        --cfg-options data_root=DIR
    python tools/train.py configs/sift_vton/unet_tiny_vitonhd.py --cfg-options data_root=DIR
    python tools/test.py configs/sift_vton/unet_tiny_vitonhd.py \
        work_dirs/sift_vton/unet_tiny_vitonhd/iter_900.pth --cfg-options data_root=DIR

People it never saw: add ``test_dataloader.dataset.split=test`` to the last options; other people's
garments: ``test_dataloader.dataset.setting=unpaired`` too.
"""

from mmengine.config import read_base

with read_base():
    from ..stableviton.unet_synthetic import *

data_root = "data/vitonhd"
size = (128, 96)  # 16x12 latents of 8x8 pixels
iterations = 900

model.update(
    size=size,
    categories=["upper_body"],
    codec=dict(type="SpaceToDepthCodec", factor=8),
    probe=None,  # photographs have no true flow
    attention_losses=dict(
        keypoints=dict(
            type="KeypointAttentionLoss", layers=["blocks.*.attn2"], weight=0.1, t_max=None
        )
    ),
)
model.backbone.update(in_channels=192, out_channels=192, block_out_channels=(64, 96))
matches = dict(matcher=dict(type="SIFTMatcher"))
maps = ["agnostic", "mask", "garment_mask", "pose"]
train_dataloader.dataset = dict(
    type="VITONHDDataset",
    split="train",
    size=size,
    maps=[*maps, "worn_mask"],
    missing="skip",
    matches=matches,
    keep_in_memory=True,  # nine people: decoded once, not once a step
)
test_dataloader.dataset = dict(
    type="VITONHDDataset",
    split="train",  # the people it was trained on: this config shows that the real path learns
    size=size,
    maps=maps,
    missing="skip",
)
test_evaluator = [dict(type="ImageErrors")]
val_dataloader = val_evaluator = val_cfg = None

train_cfg.update(max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=5e-5, begin=50, end=iterations, by_epoch=False),
]
