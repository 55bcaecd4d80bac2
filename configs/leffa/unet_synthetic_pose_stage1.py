"""First stage of ``unet_synthetic_pose.py``, as ``unet_synthetic_stage1.py`` is of try-on."""

from mmengine.config import read_base

with read_base():
    from .unet_synthetic import *

iterations = 250

model.attention_losses = dict(
    same_place=dict(
        type="CorrespondenceDistillationLoss",
        form="cross_entropy",
        layers=supervised_layers,
        weight=0.2,
        t_max=None,
    ),
)
for loader in (train_dataloader, val_dataloader, test_dataloader):
    loader.dataset.update(
        setting="person_to_person", transforms=[dict(type="GenerateWholePicture")]
    )
train_dataloader.dataset.transforms.append(dict(type="SamePlaceCorrespondences", grid=(16, 12)))
train_cfg.update(max_iters=iterations, val_interval=iterations)
optim_wrapper.optimizer.update(lr=2e-3)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=5e-4, begin=50, end=iterations, by_epoch=False),
]
