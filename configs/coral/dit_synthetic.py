"""CORAL at laptop size: the same classes, losses and path as ``dit_vitonhd.py``, on rendered
people.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

size = (64, 48)
iterations = 1200
supervised_layers = ["transformer_blocks.1.attn"]

model = dict(
    type="TryOnDiffusion",
    size=size,
    backbone=dict(
        type="FluxTransformer2DModel",
        in_channels=112,  # packed: 48 noisy + 48 canvas + 16 mask
        out_channels=48,
        num_layers=2,
        num_single_layers=2,
        num_attention_heads=4,
        attention_head_dim=24,
        axes_dims_rope=(4, 10, 10),
        joint_attention_dim=16,
        pooled_projection_dim=16,
    ),
    codec=dict(type="SpaceToDepthCodec", factor=2),
    conditioner=dict(
        type="Full3DAttentionConditioner",
        codec_factor=2,
        prompt=dict(type="NullPrompt", dim=16, pooled_dim=16),
    ),
    noise_schedule=dict(
        type="FlowMatchingSchedule",
        shift=6.0,  # a small picture is decided at high noise
        network_predicts="clean",  # width 96 cannot carry 48 channels of noise besides the picture
        min_sigma=0.4,
    ),
    sampler=dict(type="FlowMatchEulerSampler", num_steps=4, shift=6.0),
    probe=dict(layers=["*"], sigma=0.5),  # all blocks
    attention_losses=dict(
        correspondence=dict(
            type="CorrespondenceDistillationLoss",
            form="cross_entropy",
            layers=supervised_layers,
            weight=0.2,
            t_max=None,
        ),
        entropy=dict(
            type="AttentionEntropyLoss",
            layers=supervised_layers,
            weight=0.01,
            t_max=None,
            start_iter=600,
            warmup_iters=100,
        ),
    ),
)

people = dict(
    type="SyntheticTryOn",
    size=size,
    categories=["upper_body"],
    hardness=(0.0, 0.5),  # from A-pose to bent arms and turned bodies
    cache_dir="work_dirs/cache",
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**people, split="train", length=1000),
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
val_evaluator = [dict(type="AttentionPCK", layers=supervised_layers)]
val_cfg = dict()
test_evaluator = [dict(type="AttentionPCK", layers=supervised_layers), dict(type="ImageErrors")]
test_cfg = dict()

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations, val_interval=200)
optim_wrapper = dict(
    type="FiniteOptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.99), weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-4, begin=50, end=iterations, by_epoch=False),
]
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.01),
    dict(type="SampleGridHook", interval=500),
]
