"""The base of the joint DiT toys: inpainting with a reference picture, on rendered people.

Two tasks, no correspondence loss, and a split of people, garments and prints of its own: a masked
person from another photograph of the same clothes, and a masked garment picture from the same
picture unmoved. It never sees a shop picture being worn: that is what the methods teach it.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

size = (128, 96)
iterations = 20000

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
        type="FlowMatchingSchedule",
        shift=6.0,  # a small picture is decided at high noise
        network_predicts="clean",  # width 112 cannot carry 64 channels of noise besides the picture
        min_sigma=0.4,
    ),
    sampler=dict(type="FlowMatchEulerSampler", num_steps=4, shift=6.0),
    mask_loss_weight=5.0,
)

people = dict(
    type="SyntheticTryOn",
    size=size,
    split="base",
    categories=["upper_body"],
    hardness=(0.0, 0.6),
    maps=[],
    cache_dir="work_dirs/cache",
)
light = [
    dict(type="RandomHFlip"),
    dict(type="ColorJitter", brightness=0.2, contrast=0.2, saturation=0.4, hue=0.5, prob=0.7),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(
        type="MixtureDataset",
        datasets=[
            dict(**people, setting="person_to_person", length=1600, transforms=light),
            dict(**people, length=1000, transforms=[*light, dict(type="TextureCompletion")]),
        ],
    ),
)
test_dataloader = dict(  # what the base alone makes of a try-on
    batch_size=16,
    num_workers=0,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(
        type="SyntheticTryOn",
        size=size,
        split="val",
        length=32,
        categories=["upper_body"],
        hardness=(0.0, 0.5),
        cache_dir="work_dirs/cache",
    ),
)
test_evaluator = [dict(type="ImageErrors")]
test_cfg = dict()

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations)
optim_wrapper = dict(
    type="FiniteOptimWrapper",
    optimizer=dict(type="AdamW", lr=1.5e-3, betas=(0.9, 0.99), weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [  # constant: the average of the weights does the annealing, at any time
    dict(type="LinearLR", start_factor=0.02, begin=0, end=200, by_epoch=False),
]
default_hooks.checkpoint = dict(type="SafeCheckpointHook", interval=500, max_keep_ckpts=2)
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.002),
    dict(type="SampleGridHook", interval=1000),
]
