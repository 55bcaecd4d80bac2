"""CORAL on the synthetic benchmark: its losses fine-tune a base that can inpaint, on bold prints.

The base (configs/bases/dit_bold.py) knows people and copies from a reference picture; it has never
seen a shop picture being worn. 128x96 pixels, minutes on two cores.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *
    from .._base_.dit_bold import *

iterations = 600
supervised_layers = ["single_transformer_blocks.2.attn"]  # the base copies through it
load_from = "zoo:base_dit"

model.attention_losses = dict(
    correspondence=dict(
        type="CorrespondenceDistillationLoss",
        form="cross_entropy",
        head_reduction="none",  # each head: together they carry one patch, not a mean of four
        layers=supervised_layers,
        weight=0.1,
        t_max=None,
    ),
    entropy=dict(
        type="AttentionEntropyLoss",
        layers=supervised_layers,
        weight=0.05,
        t_max=None,
        start_iter=300,
        warmup_iters=100,
    ),
)

train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(
        **bold,
        split="train",
        length=1000,
        transforms=[
            dict(type="RandomHFlip"),
            dict(type="ColorJitter", saturation=0.4, hue=0.5, prob=0.5),
        ],
    ),
)
val_evaluator = [dict(type="AttentionPCK", layers=supervised_layers), dict(type="ImageErrors")]
test_evaluator = [dict(type="AttentionPCK", layers=supervised_layers), dict(type="ImageErrors")]

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations, val_interval=200)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=5e-5, begin=50, end=iterations, by_epoch=False),
]
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.02),
    dict(type="SampleGridHook", interval=300),
]
