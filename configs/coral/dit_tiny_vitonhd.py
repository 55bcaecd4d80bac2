"""CORAL on real photographs, on a CPU in minutes: a tiny FLUX learns a few people by heart.

First the correspondences, then training, then the pictures of the people it was trained on:

    python tools/extract_matches.py configs/coral/dit_tiny_vitonhd.py --cfg-options data_root=DIR
    python tools/train.py configs/coral/dit_tiny_vitonhd.py --cfg-options data_root=DIR
    python tools/test.py configs/coral/dit_tiny_vitonhd.py \
        work_dirs/coral/dit_tiny_vitonhd/iter_900.pth --cfg-options data_root=DIR

People it never saw: add ``test_dataloader.dataset.split=test`` to the last options.
"""

from mmengine.config import read_base

with read_base():
    from .dit_synthetic import *

data_root = "data/vitonhd"
size = (128, 96)  # 16x12 tokens of 8x8 pixels
iterations = 900

model.update(size=size, codec=dict(type="SpaceToDepthCodec", factor=4), categories=["upper_body"])
model.backbone.update(in_channels=448, out_channels=192)  # packed: 192 noisy + 192 canvas + 64 mask
model.conditioner.update(codec_factor=4)
model.update(probe=None)  # photographs have no true flow

matches = dict(matcher=dict(type="SIFTMatcher"))
train_dataloader.dataset = dict(
    type="VITONHDDataset",
    split="train",
    size=size,
    maps=["agnostic", "mask", "garment_mask", "pose", "worn_mask"],
    missing="skip",
    matches=matches,
    keep_in_memory=True,  # nine people: decoded once, not once a step
)
test_dataloader.dataset = dict(
    type="VITONHDDataset",
    split="train",  # the people it was trained on: this config shows that the real path learns
    size=size,
    maps=["agnostic", "mask", "garment_mask", "pose"],
    missing="skip",
)
test_evaluator = [dict(type="ImageErrors")]
val_dataloader = val_evaluator = val_cfg = None

train_cfg.update(max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=5e-5, begin=50, end=iterations, by_epoch=False),
]
