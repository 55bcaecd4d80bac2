"""Leffa at laptop size: the same classes, losses and path as ``unet_vitonhd.py``, on rendered
people.

The flow loss moves attention that already looks at one place; the paper's comes from Stable
Diffusion and 46 000 steps. Here a first stage teaches it to look straight across (see its file):

    python tools/train_stages.py configs/leffa/unet_synthetic_stage1.py \
        configs/leffa/unet_synthetic.py
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

size = (64, 48)
iterations = 600
supervised_layers = [  # those at the finest grid, 16x12
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1",
    "up_blocks.1.attentions.0.transformer_blocks.0.attn1",
    "up_blocks.1.attentions.1.transformer_blocks.0.attn1",
]

model = dict(
    type="TryOnDiffusion",
    size=size,
    backbone=dict(
        type="UNet2DConditionModel",
        in_channels=48,  # the conditioner adds its own
        out_channels=48,
        block_out_channels=(64, 64),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,  # diffusers' name for the number of heads
        cross_attention_dim=8,  # text is taken out
        norm_num_groups=8,
    ),
    codec=dict(type="SpaceToDepthCodec", factor=4),
    conditioner=dict(
        type="SpatialConcatConditioner",
        reference="unet",
        inputs=["mask", "agnostic", "pose"],
    ),
    noise_schedule=dict(type="DDPMSchedule", network_predicts="clean", loss_on="clean", shift=6.0),
    sampler=dict(type="DDIMSampler", num_steps=4, timestep_spacing="trailing"),
    condition_dropout=0.1,
    probe=dict(layers=supervised_layers, sigma=0.5),
    attention_losses=dict(
        flow=dict(
            type="AttentionFlowLoss",
            layers=supervised_layers,
            weight=0.02,
            temperature=1.0,
            upsample=False,  # at 64x48 pixels single pixels say little about where they are
            min_grid_ratio=1 / 8,  # strict: grids of 8x6 tokens are left out
            sink_dims={layer: (2, 32) for layer in supervised_layers},
            t_max=None,
        ),
    ),
)

people = dict(
    type="SyntheticTryOn",
    size=size,
    categories=["upper_body"],
    textures=["gradient", "graphic", "abstract", "blocks"],  # pixels that tell places apart
    hardness=(0.0, 0.5),
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

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations, val_interval=300)
optim_wrapper = dict(
    type="FiniteOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01),
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
