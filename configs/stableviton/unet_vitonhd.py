"""StableVITON at the paper's setting: Paint-by-Example's UNet, VITON-HD at 512x384 (METHODS.md 4).

What is not in the authors' code or paper is marked ``ours``. ``--cfg-options pretrained=DIR`` takes
a local folder in the diffusers layout (``unet/``, ``vae/``, ``image_encoder/``).
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

data_root = "data/vitonhd"
pretrained = "Fantasy-Studio/Paint-by-Example"
size = (512, 384)
held_out = 32  # people of the training list that validation and pictures are of
iterations = 1440000  # 360 000 steps of 32 (from memory: no source gives the number)

model = dict(
    type="TryOnDiffusion",
    size=size,
    categories=["upper_body"],
    backbone=dict(type="from_pretrained", cls="UNet2DConditionModel", path=None, subfolder="unet"),
    codec=dict(type="from_pretrained", cls="AutoencoderKL", path=None, subfolder="vae"),
    trainable=[],  # the UNet is frozen: encoder, middle and decoder
    conditioner=dict(
        type="ZeroCrossAttentionConditioner",
        image_encoder=dict(
            type="from_pretrained",
            cls="GarmentTokenEncoder",
            path=None,
            subfolder="image_encoder",
        ),
        inputs=["agnostic", "mask", "pose"],
        mask_shows="keep",  # as Paint-by-Example was trained
        encoder_sees="person_and_garment",  # D1; the paper says "garment"
        drops=["token"],  # the garment's features are never withheld
        train_token=True,
    ),
    condition_dropout=0.2,
    noise_schedule=dict(type="DDPMSchedule"),
    sampler=dict(type="PLMSSampler", num_steps=50, start="agnostic"),  # D5, no guidance
    probe=dict(layers=["blocks.[147].*.attn2"], sigma=0.5),  # the middle block of each resolution
    val_sigmas=[0.125, 0.375, 0.625, 0.875],  # the middle of each quarter
)

transforms = [  # D2: shift and scale really act here
    dict(type="RandomHFlip", prob=0.5),
    dict(type="RandomAffine", target="person", prob=0.5, shift=0.2, scale=(0.8, 1.2), fill=0),
    dict(type="RandomAffine", target="garment", prob=0.5, shift=0.2, scale=(0.8, 1.2), fill=0),
    dict(
        type="ColorJitter",
        prob=0.5,
        hue=0.028,  # 5 of OpenCV's 180
        saturation=0.02,
        brightness=(-0.1, 0.02),
        contrast=0.3,
    ),
]
maps = ["agnostic", "mask", "garment_mask", "pose"]
dataset = dict(type="VITONHDDataset", size=size)
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="train", holdout=held_out, maps=maps, transforms=transforms),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="test", maps=maps),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="val", holdout=held_out, maps=maps),
)
val_evaluator = [dict(type="DenoisingLoss")]
val_cfg = dict()
test_evaluator = [dict(type="ImageErrors")]
test_cfg = dict()

# As the authors' program trains and samples: see docs/parity.md for each.
released_transforms = [
    dict(type="RandomHFlip", prob=0.5, exchange_sides=False),
    *transforms[1:3],
    dict(type="HSVShift", prob=0.5, hue=5, saturation=5, value=5),
    dict(type="BrightnessContrast", prob=0.5, brightness=(-0.1, 0.02), contrast=0.3),
]
released = {
    "model.posterior": "sample",
    "model.picture_rounding": "truncate",
    "model.blend_rounding": "truncate",
    "model.repaint_blur": 0,
    "model.conditioner.antialias": False,
    "model.sampler.start": "photograph",  # a leak of the paired answer, warned of
    "model.sampler.timestep_spacing": "stride",
    "train_dataloader.dataset.transforms": released_transforms,
}
train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations, val_interval=20000)
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    dtype="bfloat16",  # the authors' float16: optim_wrapper.dtype=float16
    optimizer=dict(type="AdamW", lr=1e-4),
    accumulative_counts=4,  # 32 samples a step
)
param_scheduler = []
default_hooks.checkpoint.update(interval=20000, save_best="denoising_loss")
custom_hooks = [dict(type="SampleGridHook", interval=20000)]
