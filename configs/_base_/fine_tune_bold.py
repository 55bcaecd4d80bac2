"""How a method is fine-tuned from its base: people of `train`, minutes on two cores."""

from mmengine.config import read_base

with read_base():
    from .bold import *

iterations = 300

train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(
        **{**bold, "maps": ["flow", "correspondences", "worn_mask"]},
        split="train",
        length=1000,
        transforms=[
            dict(type="RandomHFlip"),
            dict(type="ColorJitter", saturation=0.4, hue=0.5, prob=0.5),
        ],
    ),
)
val_evaluator = [dict(type="AttentionPCK"), dict(type="ImageErrors")]
test_evaluator = [dict(type="AttentionPCK"), dict(type="ImageErrors")]

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations, val_interval=150)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=5e-5, begin=50, end=iterations, by_epoch=False),
]
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.02),
    dict(type="SampleGridHook", interval=150),
]
