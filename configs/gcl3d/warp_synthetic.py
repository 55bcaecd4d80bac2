"""3D-GCL's first stage at laptop size: the same classes, losses and path as
``warp_deepfashion.py``, on rendered people in hard poses.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

size = (64, 48)
iterations = 400

model = dict(
    type="TryOnWarping",
    size=size,
    categories=["upper_body"],
    network=dict(
        type="CorrespondenceNetwork", widths=(16, 16, 32), dim=16, stem_stride=1, temperature=0.2
    ),
    refinement=dict(type="FlowRefinement", dim=16, hidden=16, motion=16),
    attention_losses=dict(correlation=dict(type="CorrelationRegularizationLoss", weight=10.0)),
    flow_loss=dict(type="FlowRegressionLoss", weight=5.0),
    image_losses=dict(  # VGG, which compares inside the worn garment, wants larger pictures
        l1=dict(type="L1Loss"), worn=dict(type="L1Loss", masked=True)
    ),
    probe=dict(layers=["correlation"]),
)

people = dict(
    type="SyntheticTryOn",
    size=size,
    setting="person_to_person",
    categories=["upper_body"],
    hardness=(0.4, 1.0),  # arms before the body, turned and bent people
    framing=0.3,  # shifted and smaller: the identity is no start
    maps=["worn_mask", "iuv", "garment_iuv", "flow"],
    cache_dir="work_dirs/cache",
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**people, split="train", length=400),
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
val_evaluator = [dict(type="FlowError"), dict(type="WarpedGarmentIoU")]
val_cfg = dict()
test_evaluator = [
    *(dict(type="FlowError"), dict(type="WarpedGarmentIoU"), dict(type="AttentionPCK")),
    dict(type="ImageErrors"),
]
test_cfg = dict()

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations, val_interval=iterations)
optim_wrapper = dict(
    type="FiniteOptimWrapper",
    optimizer=dict(type="Adam", lr=2e-3, betas=(0.5, 0.999)),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=30, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-4, begin=30, end=iterations, by_epoch=False),
]
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.01),
    dict(type="SampleGridHook", interval=500),
]
