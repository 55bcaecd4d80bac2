"""The base of the synthetic benchmark's joint DiT: inpainting with a reference picture.

Two tasks, no correspondence loss, and a split of people, garments and prints of its own: a masked
person from another photograph of the same clothes, and a masked garment picture from the same
picture unmoved. It never sees a shop picture being worn: that is what the methods teach it.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *
    from .._base_.dit_bold import *

iterations = 4000

seen = {**bold, "split": "base", "hardness": (0.0, 0.6), "maps": []}
light = [
    dict(type="RandomHFlip"),
    dict(type="ColorJitter", brightness=0.2, contrast=0.2, saturation=0.4, hue=0.5, prob=0.7),
]
moved = [*light, dict(type="TextureCompletion")]
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(
        type="MixtureDataset",
        datasets=[
            dict(**seen, setting="person_to_person", length=4000, transforms=light),
            dict(**seen, length=2000, transforms=moved),
        ],
    ),
)
val_dataloader = val_cfg = None
test_evaluator = [dict(type="AttentionPCK"), dict(type="ImageErrors")]  # what it makes of a try-on

train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=200, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-4, begin=200, end=iterations, by_epoch=False),
]
default_hooks.checkpoint = dict(type="SafeCheckpointHook", interval=1000, max_keep_ckpts=2)
custom_hooks = [dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.005)]
