"""StableVITON on real photographs, on a CPU in minutes: a tiny UNet learns a few people by heart.

    python tools/train.py configs/stableviton/unet_tiny_vitonhd.py --cfg-options data_root=DIR
    python tools/test.py configs/stableviton/unet_tiny_vitonhd.py \
        work_dirs/stableviton/unet_tiny_vitonhd/iter_900.pth --cfg-options data_root=DIR

People it never saw: add ``test_dataloader.dataset.split=test`` to the last options; other people's
garments: ``test_dataloader.dataset.setting=unpaired`` too.
"""

from mmengine.config import read_base

with read_base():
    from .unet_synthetic import *

data_root = "data/vitonhd"
size = (128, 96)  # 16x12 latents of 8x8 pixels
iterations = 900

model.update(size=size, categories=["upper_body"], codec=dict(type="SpaceToDepthCodec", factor=8))
model.update(probe=None)  # photographs have no true flow
model.backbone.update(in_channels=192, out_channels=192, block_out_channels=(64, 96))
maps = ["agnostic", "mask", "garment_mask", "pose"]
train_dataloader.dataset = dict(
    type="VITONHDDataset",
    split="train",
    size=size,
    maps=[*maps, "worn_mask"],
    missing="skip",
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
