"""3D-GCL's second stage on DeepFashion In-shop, 512x320 padded to 512x512, after
``warp_deepfashion.py`` (METHODS.md 5.6, 5.7). Values marked `ours` are not the paper's.
"""

from mmengine.config import read_base

with read_base():
    from .warp_deepfashion import *

load_parts = dict(warping="work_dirs/gcl3d/warp_deepfashion/model.safetensors")
iterations = 254000  # 20 epochs of 101 622 pairs in batches of 8

warping = dict(model, attention_losses=None, flow_loss=None, image_losses=None, probe=None)
model = dict(
    type="TryOnSynthesis",
    size=size,
    categories=["upper_body"],
    warping=warping,
    generator=dict(type="SpatialStyleGenerator"),
    discriminator=dict(
        type="ResidualDiscriminator",
        size=size,
        stddev_group=2,  # all samples of a GPU; the released 4 needs as many on each
    ),
    adversarial=dict(type="NonSaturatingLoss", weight=1.0, r1_weight=10.0, r1_interval=16),
    image_losses=dict(
        l1=dict(type="L1Loss"),
        perceptual=dict(type="PerceptualLoss", weight=1.0, path=None),
    ),
)

maps = ["agnostic", "mask", "garment_mask", "worn_mask", "pose", "iuv", "garment_iuv"]
# the warp is known: no bodies are needed
for loader in (train_dataloader, val_dataloader, test_dataloader):
    loader.dataset.update(maps=maps, transforms=None)
val_evaluator = [dict(type="SSIM")]
default_hooks.checkpoint.update(save_best="ssim")
test_evaluator = [dict(type="WarpedGarmentIoU"), dict(type="SSIM")]

train_cfg.update(max_iters=iterations)
optim_wrapper = dict(
    constructor="MultiOptimWrapperConstructor",
    generator=dict(optimizer=dict(type="Adam", lr=2e-3, betas=(0.5, 0.999))),
    discriminator=dict(optimizer=dict(type="Adam", lr=2e-3, betas=(0.5, 0.999))),
)
model_wrapper_cfg = dict(type="MMSeparateDistributedDataParallel")
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.001),
    dict(type="SampleGridHook", interval=5000),
]

_warped = {  # the first stage's rules, without its losses
    f"model.warping.{name}": released[f"model.{name}"]
    for name in ("network.norm", "refinement", "label_scale", "arithmetic")
}
released = {
    **_warped,
    "model.generator": dict(type="TwoBranchStyleGenerator"),
    "model.discriminator.stem": 1,
    "model.retained": "parse",
    "model.pose": "iuv",
    "model.columns": (96, 416),  # photographs of 512x320, padded to a square
    "model.image_losses.perceptual": dict(
        type="PerceptualLoss", weight=1.0, path=None, imagenet=False, outside="zeros"
    ),
    "train_dataloader.dataset.maps": [*maps, "parse"],
    "test_dataloader.dataset.maps": [*maps, "parse"],
}
