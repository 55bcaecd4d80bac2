"""Leffa on VITON-HD, the last of three stages: 1024x768 with the flow loss (METHODS.md 3).

The three stages in one command, which can be given again after a stop:

    python tools/train_stages.py configs/leffa/unet_vitonhd_stage1.py \
        configs/leffa/unet_vitonhd_stage2.py configs/leffa/unet_vitonhd.py \
        --cfg-options data_root=DIR

What the paper does not say is marked ``ours``. Batch sizes are those of 8 processes.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

data_root = "data/vitonhd"
pretrained = "stable-diffusion-v1-5/stable-diffusion-inpainting"  # unet/, vae/
load_from = "work_dirs/leffa/unet_vitonhd_stage2/model.safetensors"
size = (1024, 768)
steps, accumulate = 10000, 4
held_out = 32  # people of the training list that validation and pictures are of

# SD-1.5's self-attention at 1/8 and 1/16 of the picture: the ten that are above 1/32.
fine_layers = {
    f"{block}.attentions.{place}.transformer_blocks.0.attn1": (8, width // 8)  # heads, head size
    for block, places, width in (
        ("down_blocks.0", 2, 320),
        ("down_blocks.1", 2, 640),
        ("up_blocks.2", 3, 640),
        ("up_blocks.3", 3, 320),
    )
    for place in range(places)
}
model = dict(
    type="TryOnDiffusion",
    size=size,
    categories=["upper_body"],
    backbone=dict(type="from_pretrained", cls="UNet2DConditionModel", path=None, subfolder="unet"),
    codec=dict(type="from_pretrained", cls="AutoencoderKL", path=None, subfolder="vae"),
    conditioner=dict(
        type="SpatialConcatConditioner",
        reference="unet",  # a copy of the backbone; both train
        inputs=["mask", "agnostic", "pose"],  # 12 channels with the noisy latents, C6
        cross_attention="skip",  # C7; "residual" for the authors' weights
    ),
    gradient_checkpointing=True,
    condition_dropout=0.1,  # ours, C8
    noise_schedule=dict(type="DDPMSchedule"),
    sampler=dict(type="DDPMSampler", num_steps=50, guidance_scale=2.5, guidance_rescale=0.0),  # C9
    probe=dict(layers=list(fine_layers), sigma=0.5),
    val_sigmas=[0.125, 0.375, 0.625, 0.875],  # the middle of each quarter
    attention_losses=dict(
        flow=dict(
            type="AttentionFlowLoss",
            layers=list(fine_layers),
            weight=1e-3,
            temperature=2.0,
            min_grid_ratio=1 / 32,  # strict, C3
            t_max=500,
            sink_dims=fine_layers,
            num_sinks=1,  # ours, C2: for each layer and head
        ),
    ),
)

maps = ["agnostic", "mask", "garment_mask", "pose"]
dataset = dict(type="VITONHDDataset", size=size)
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(  # C5
        **dataset, split="train", holdout=held_out, maps=[*maps, "worn_mask"]
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="test", maps=maps),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="val", holdout=held_out, maps=maps),
)
val_evaluator = [dict(type="DenoisingLoss")]
val_cfg = dict()
test_evaluator = [dict(type="ImageErrors")]
test_cfg = dict()

train_cfg = dict(type="ResumableTrainLoop", max_iters=steps * accumulate, val_interval=4000)
# As the authors' program samples their weights: see docs/parity.md for each.
released = {
    "model.conditioner.cross_attention": "residual",  # C7
    "model.sampler.guidance_rescale": 2.5,  # C9
    "model.posterior": "sample",
    "model.blend_rounding": "truncate",
    "model.data_preprocessor": dict(type="TryOnDataPreprocessor", agnostic="masked_person"),
}
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=1e-5),
    accumulative_counts=accumulate,  # 8 processes x 2 x 4 = 64
)
param_scheduler = []
default_hooks.checkpoint.update(interval=4000, save_best="denoising_loss")
custom_hooks = [dict(type="SampleGridHook", interval=4000)]
