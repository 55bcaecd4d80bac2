"""SIFT-VTON at the paper's setting: fine-tuned from StableVITON, VITON-HD at 512x384 (METHODS.md
2). First the matches, then the authors' starting point, then training:

    python tools/extract_matches.py configs/sift_vton/unet_vitonhd.py --cfg-options data_root=DIR
    python tools/convert/stableviton.py VITONHD.ckpt checkpoints/stableviton_vitonhd.safetensors
    python tools/train.py configs/sift_vton/unet_vitonhd.py --cfg-options data_root=DIR
"""

from mmengine.config import read_base

with read_base():
    from ..stableviton.unet_vitonhd import *

load_from = "checkpoints/stableviton_vitonhd.safetensors"
iterations = 426000  # 160 epochs of 10 647 people, four at a time

model.update(
    trainable=["conv_in.*", "up_blocks.*", "conv_norm_out.*", "conv_out.*"],  # D7
    condition_dropout=0.1,
    noise_schedule=dict(type="DDPMSchedule", snr_gamma=5.0),
    sampler=dict(type="PLMSSampler", num_steps=50, start="agnostic", guidance_scale=1.5),
    attention_losses=dict(
        keypoints=dict(
            type="KeypointAttentionLoss",  # B1: the paper's mean over layers, heads and samples
            layers=["blocks.[147].*.attn2"],  # the middle block of each resolution
            weight=5e-4,
            t_max=500,  # strict, B2
        )
    ),
)
model.conditioner.update(
    train_token=False,
    drops=["token", "features"],  # B5: training withholds what guidance withholds
)

transforms = [
    dict(type="RandomHFlip", prob=0.5),
    dict(
        type="RandomAffine",
        target="person",
        prob=0.5,
        shift=0.2,
        scale=(0.8, 1.2),
        rotate=10,
        fill=0,
    ),
    dict(
        type="RandomAffine",
        target="garment",
        prob=0.5,
        shift=0.2,
        scale=(0.8, 1.2),
        rotate=2,
        fill=0,
    ),
    dict(
        type="ColorJitter",
        prob=0.5,
        hue=0.028,
        saturation=0.02,
        brightness=(-0.1, 0.02),
        contrast=0.3,
    ),
]
matches = dict(matcher=dict(type="SIFTMatcher"))
train_dataloader.update(batch_size=4)
train_dataloader.dataset.update(transforms=transforms, matches=matches, holdout=1000)
val_dataloader.dataset.update(matches=matches, holdout=1000)
val_evaluator = [*val_evaluator, dict(type="AttentionPCK", truth="correspondences")]

released_transforms = [
    dict(type="RandomHFlip", prob=0.5, exchange_sides=False),
    *transforms[1:3],
    dict(type="HSVShift", prob=0.5, hue=5, saturation=5, value=5),
    dict(type="BrightnessContrast", prob=0.5, brightness=(-0.1, 0.02), contrast=0.3),
]
released = {  # as the authors' program trains and samples: see docs/parity.md for each
    "model.posterior": "sample",
    "model.repaint_blur": 0,
    "model.sampler.start": "noise",
    "model.sampler.timestep_spacing": "stride",
    "model.conditioner.training_drops": ["token"],
    "model.noise_schedule.snr_gamma": None,  # the released settings have it off
    "model.attention_losses.keypoints.layer_reduction": "sum",
    "model.attention_losses.keypoints.sample_reduction": "sum",
    "model.attention_losses.keypoints.probability_floor": 1e-8,
    "train_dataloader.dataset.matches.matcher.grey": "bgr",
    "train_dataloader.dataset.transforms": released_transforms,
}
train_cfg.update(max_iters=iterations)
optim_wrapper.update(accumulative_counts=8)  # 32 samples a step
param_scheduler = [dict(type="LinearLR", start_factor=0.01, begin=0, end=800, by_epoch=False)]
