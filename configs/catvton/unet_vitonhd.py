"""CatVTON's setting: one SD-1.5 inpainting UNet, person above garment, VITON-HD.

Only self-attention trains (49.57 M parameters, says the paper's abstract). The VAE is the MSE
fine-tuned one. The authors' weights: ``tools/convert/catvton.py``. They released no training
code. Batch size 128, 16 000 steps, learning rate, picture size and dropout below are what
we remember of the paper, not checked against it: check before you cite them.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

data_root = "data/vitonhd"
pretrained = "stable-diffusion-v1-5/stable-diffusion-inpainting"  # unet/, vae/
size = (512, 384)
steps, accumulate = 16000, 2  # from memory
held_out = 32  # people of the training list that validation and pictures are of

model = dict(
    type="TryOnDiffusion",
    size=size,
    categories=["upper_body"],
    backbone=dict(type="from_pretrained", cls="UNet2DConditionModel", path=None, subfolder="unet"),
    codec=dict(type="from_pretrained", cls="AutoencoderKL", path="stabilityai/sd-vae-ft-mse"),
    conditioner=dict(
        type="SpatialConcatConditioner",
        reference="self",
        inputs=["mask", "agnostic"],  # SD-inpainting's own nine channels
        cross_attention="residual",  # as the authors' weights
    ),
    trainable=["*.attn1.*"],
    gradient_checkpointing=True,
    condition_dropout=0.1,
    noise_schedule=dict(type="DDPMSchedule"),
    sampler=dict(type="DDIMSampler", num_steps=50, eta=1.0, guidance_scale=2.5),
    probe=dict(layers=["up_blocks.3.*.attn1"], sigma=0.5),  # the finest grid
    val_sigmas=[0.125, 0.375, 0.625, 0.875],  # the middle of each quarter
    attention_losses=dict(),
)

maps = ["agnostic", "mask", "garment_mask"]
dataset = dict(type="VITONHDDataset", size=size)
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="train", holdout=held_out, maps=maps),
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

# As the authors' program samples their weights: see docs/parity.md for each.
released = {
    "model.posterior": "sample",
    "model.repaint_blur": 50,
    "model.data_preprocessor": dict(type="TryOnDataPreprocessor", agnostic="masked_person"),
}

train_cfg = dict(type="ResumableTrainLoop", max_iters=steps * accumulate, val_interval=4000)
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=1e-5),  # from memory
    accumulative_counts=accumulate,  # 8 processes x 8 x 2 = 128, from memory
)
param_scheduler = []
default_hooks.checkpoint.update(interval=4000, save_best="denoising_loss")
custom_hooks = [dict(type="SampleGridHook", interval=4000)]
