"""What a base learns: inpainting with a reference picture, and no correspondence loss.

Two tasks on a split of people, garments and prints of its own: a masked person from another
photograph of the same clothes, and a masked garment picture from the same picture before it was
moved. It never sees a shop picture being worn: that is what the methods teach it.
"""

from mmengine.config import read_base

with read_base():
    from .bold import *

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
test_evaluator = [dict(type="AttentionPCK"), dict(type="ImageErrors")]  # what it makes of a try-on

custom_hooks = [dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.005)]
