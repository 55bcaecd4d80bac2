"""The optional recipe before StableVITON: the VAE's decoder learns the texture of people (D8).

    python tools/train.py configs/stableviton/vae_vitonhd.py --cfg-options data_root=DIR
    python tools/train.py configs/stableviton/unet_vitonhd.py --cfg-options \
        model.codec.path=work_dirs/vae_vitonhd/export data_root=DIR

The authors used such a VAE and released its weights, not its script: losses as in their code
(without the discriminator, and without the KL term, which a frozen encoder does not feel), all
other values ``ours``.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

data_root = "data/vitonhd"
pretrained = "Fantasy-Studio/Paint-by-Example"
size = (512, 384)
held_out = 32  # people of the training list that validation and pictures are of

model = dict(
    type="AutoencoderFinetune",
    size=size,
    backbone=dict(type="from_pretrained", cls="AutoencoderKL", path=None, subfolder="vae"),
    lpips_weight=1.0,
    lpips_net="vgg",
)
dataset = dict(type="VITONHDDataset", size=size, maps=["mask"])
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(
        **dataset,
        split="train",
        holdout=held_out,
        transforms=[dict(type="RandomHFlip", prob=0.5)],
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="test"),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="val", holdout=held_out),
)
val_evaluator = [dict(type="ImageErrors")]
val_cfg = dict()
test_evaluator = [dict(type="ImageErrors")]
test_cfg = dict()

train_cfg = dict(type="ResumableTrainLoop", max_iters=40000, val_interval=4000)
optim_wrapper = dict(type="FiniteOptimWrapper", optimizer=dict(type="AdamW", lr=1e-5))
param_scheduler = [dict(type="LinearLR", start_factor=0.01, begin=0, end=500, by_epoch=False)]
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=1e-3),
    dict(type="DiffusersExportHook"),
    dict(type="SampleGridHook", interval=4000),
]
default_hooks.checkpoint.update(save_best="l1_inside")
