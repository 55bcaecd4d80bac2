"""3D-GCL's first stage on DeepFashion In-shop: 512x320, padded to 512x512 (METHODS.md 5).

Needs what METHODS.md 6.3 lists: photographs, parsing, DensePose and fitted SMPL bodies, with
`smpl/smpl_faces.npy` and `smpl/vertices_symm_idxs.npy` (docs/data.md). Values marked `ours` are not
the paper's.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *

data_root = "data/deepfashion"
pretrained = None  # torchvision's vgg19-dcbb9e9d.pth; None looks in torch hub's cache
size = (512, 512)
held_out = 32  # people of the training list that validation and pictures are of
iterations = 254000  # 20 epochs of 101 622 pairs in batches of 8
mesh = dict(
    type="SMPLFlowMatcher",
    faces="data/deepfashion/smpl/smpl_faces.npy",
    mirror="data/deepfashion/smpl/vertices_symm_idxs.npy",  # None: no symmetric fallback
)

model = dict(
    type="TryOnWarping",
    size=size,
    categories=["upper_body"],
    network=dict(
        type="CorrespondenceNetwork",
        norm="group",  # ours; the released one has "batch"
    ),
    refinement=dict(type="FlowRefinement"),
    attention_losses=dict(correlation=dict(type="CorrelationRegularizationLoss", weight=10.0)),
    flow_loss=dict(
        type="FlowRegressionLoss",
        weight=4.0,  # ours: about 30 (the code's, over all pixels) x the share of visible pixels
        normalisation="visible",
    ),
    image_losses=dict(
        l1=dict(type="L1Loss"),
        perceptual=dict(type="PerceptualLoss", weight=0.2, path=None),
    ),
    scale_weights=(1.0, 5.0, 5.0),
    probe=dict(layers=["correlation"]),
)

dataset = dict(
    type="DeepFashionDataset",
    size=size,
    task="person_to_person",
    categories=["upper_body"],
)
maps = ["agnostic", "mask", "garment_mask", "worn_mask", "iuv", "garment_iuv", "body"]
truth = [dict(type="BodyFlow", matcher=mesh)]
train_dataloader = dict(
    batch_size=2,  # on 4 GPUs
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="train", holdout=held_out, maps=maps, transforms=truth),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="test", maps=maps, transforms=truth),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=2,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(**dataset, split="val", holdout=held_out, maps=maps, transforms=truth),
)
val_evaluator = [dict(type="FlowError"), dict(type="AttentionPCK")]
val_cfg = dict()
test_evaluator = [dict(type="WarpedGarmentIoU"), dict(type="FlowError")]
test_cfg = dict()

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations, val_interval=5000)
optim_wrapper = dict(
    type="FiniteOptimWrapper",
    optimizer=dict(type="Adam", lr=2e-3, betas=(0.5, 0.999)),  # 2e-4 if it is unstable
    clip_grad=dict(max_norm=1.0),  # ours
)
custom_hooks = [
    dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.001),  # ours
    dict(type="SampleGridHook", interval=5000),
]
default_hooks.checkpoint.update(save_best="end_point_error")

released = {  # what the authors' program does: for their weights, and in training
    "model.network.norm": "batch",
    "model.refinement": dict(type="FlowRefinement", smoothing="replace", compare_slope=0.1),
    "model.label_scale": 10.0,
    "model.arithmetic": dict(
        corners=True,
        row_fraction=True,
        outside="zeros",
        shrinking="points",
        region="correlation",
    ),
    "model.attention_losses.correlation.token_reduction": "all",
    "model.flow_loss": dict(type="FlowRegressionLoss", weight=30.0, normalisation="code_compat"),
    "model.image_losses.perceptual": dict(
        type="PerceptualLoss", weight=0.2, path=None, imagenet=False, outside="zeros"
    ),
    "optim_wrapper.clip_grad": None,
    "custom_hooks": [dict(type="SampleGridHook", interval=5000)],
}
