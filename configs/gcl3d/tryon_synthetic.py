"""3D-GCL's second stage at laptop size: the same classes, losses and path as
``tryon_deepfashion.py``, after ``warp_synthetic.py``:

    python tools/train_stages.py configs/gcl3d/warp_synthetic.py configs/gcl3d/tryon_synthetic.py
"""

from mmengine.config import read_base

with read_base():
    from .warp_synthetic import *

iterations = 1600
load_parts = dict(warping="work_dirs/gcl3d/warp_synthetic/model.safetensors")

warping = dict(model, attention_losses=None, flow_loss=None, image_losses=None, probe=None)
model = dict(
    type="TryOnSynthesis",
    size=size,
    categories=["upper_body"],
    warping=warping,
    generator=dict(
        type="SpatialStyleGenerator",
        channels=(16, 32, 48, 64),
        retained_channels=16,
        fused_channels=48,
        style_hidden=32,
    ),
    discriminator=dict(
        type="ResidualDiscriminator", size=size, channels=(16, 32, 48, 64), stddev_group=2
    ),
    adversarial=dict(type="NonSaturatingLoss"),
    image_losses=dict(l1=dict(type="L1Loss", weight=40.0)),  # for VGG too: it wants larger pictures
)

val_evaluator = [dict(type="ImageErrors")]
test_evaluator = [dict(type="ImageErrors"), dict(type="SSIM"), dict(type="WarpedGarmentIoU")]
train_cfg.update(max_iters=iterations, val_interval=400)
optim_wrapper = dict(
    constructor="MultiOptimWrapperConstructor",
    generator=dict(optimizer=dict(type="Adam", lr=2e-3, betas=(0.5, 0.999))),
    discriminator=dict(optimizer=dict(type="Adam", lr=2e-3, betas=(0.5, 0.999))),
)
param_scheduler = None  # constant, as published
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.001),
    dict(type="SampleGridHook", interval=200),
]
