"""CORAL as the paper trains it, at laptop size: its losses fine-tune a base that can inpaint.

The base (``configs/bases/dit_synthetic.py``, shipped) knows people and copies from a reference
picture; it has never seen a shop picture being worn. 128x96 pixels, minutes on two cores.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

size = (128, 96)
iterations = 600
supervised_layers = ["transformer_blocks.1.attn"]
load_from = "zoo:base_dit"

model = dict(
    type="TryOnDiffusion",
    size=size,
    backbone=dict(
        type="FluxTransformer2DModel",
        in_channels=192,  # packed: 64 noisy + 64 canvas + 64 mask
        out_channels=64,
        num_layers=2,
        num_single_layers=2,
        num_attention_heads=4,
        attention_head_dim=28,
        axes_dims_rope=(4, 12, 12),
        joint_attention_dim=16,
        pooled_projection_dim=16,
    ),
    codec=dict(type="LinearCodec", weights="linear_codec"),
    conditioner=dict(
        type="Full3DAttentionConditioner",
        codec_factor=4,
        prompt=dict(type="NullPrompt", dim=16, pooled_dim=16),
    ),
    noise_schedule=dict(
        type="FlowMatchingSchedule", shift=6.0, network_predicts="clean", min_sigma=0.4
    ),
    sampler=dict(type="FlowMatchEulerSampler", num_steps=1, shift=6.0),
    mask_loss_weight=5.0,
    probe=dict(layers=["*"], sigma=0.5),  # all blocks
    attention_losses=dict(
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
    ),
)

people = dict(
    type="SyntheticTryOn",
    size=size,
    categories=["upper_body"],
    hardness=(0.0, 0.5),  # from A-pose to bent arms and turned bodies
    maps=["flow", "correspondences"],
    cache_dir="work_dirs/cache",
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(
        **people,
        split="train",
        length=1000,
        transforms=[
            dict(type="RandomHFlip"),
            dict(type="ColorJitter", saturation=0.4, hue=0.5, prob=0.5),
        ],
    ),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**people, split="test", length=64),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**people, split="val", length=32),
)
val_evaluator = [dict(type="AttentionPCK", layers=supervised_layers), dict(type="ImageErrors")]
val_cfg = dict()
test_evaluator = [dict(type="AttentionPCK", layers=supervised_layers), dict(type="ImageErrors")]
test_cfg = dict()

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations, val_interval=200)
optim_wrapper = dict(
    type="FiniteOptimWrapper",
    optimizer=dict(type="AdamW", lr=1.5e-3, betas=(0.9, 0.99), weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=5e-5, begin=50, end=iterations, by_epoch=False),
]
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.02),
    dict(type="SampleGridHook", interval=300),
]
