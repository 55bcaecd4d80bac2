"""StableVITON at laptop size: the same classes, losses and path as ``unet_vitonhd.py``, on rendered
people. No pretrained UNet exists at this size, so all of it trains.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

size = (64, 48)
iterations = 300

model = dict(
    type="TryOnDiffusion",
    size=size,
    backbone=dict(
        type="UNet2DConditionModel",
        in_channels=48,
        out_channels=48,
        block_out_channels=(48, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=4,  # diffusers' name for the number of heads
        norm_num_groups=16,
    ),
    codec=dict(type="SpaceToDepthCodec", factor=4),
    conditioner=dict(
        type="ZeroCrossAttentionConditioner",
        num_heads=4,
        drops=["token"],
        image_encoder=dict(
            type="GarmentTokenEncoder",
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=48,
            patch_size=12,
            projection_dim=32,
        ),
    ),
    condition_dropout=0.1,
    noise_schedule=dict(type="DDPMSchedule", snr_gamma=5.0, network_predicts="clean"),
    sampler=dict(type="PLMSSampler", num_steps=10, start="agnostic"),
    probe=dict(layers=["*.attn2"], sigma=0.5),
)

people = dict(
    type="SyntheticTryOn",
    size=size,
    categories=["upper_body"],
    hardness=(0.0, 0.5),  # from A-pose to bent arms and turned bodies
    framing=0.6,  # anywhere in the picture, so that nobody's map fits another person
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
val_evaluator = [dict(type="AttentionPCK")]
val_cfg = dict()
test_evaluator = [dict(type="AttentionPCK"), dict(type="ImageErrors")]
test_cfg = dict()

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations, val_interval=150)
optim_wrapper = dict(
    type="FiniteOptimWrapper",
    optimizer=dict(type="AdamW", lr=3e-3, betas=(0.9, 0.99), weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=30, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-4, begin=30, end=iterations, by_epoch=False),
]
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.01),
    dict(type="SampleGridHook", interval=300),
]
