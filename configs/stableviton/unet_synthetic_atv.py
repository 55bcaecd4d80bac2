"""StableVITON's second stage at laptop size: ``unet_synthetic.py`` goes on with smoothed attention.

    python tools/train.py configs/stableviton/unet_synthetic_atv.py \
        --cfg-options load_from=work_dirs/stableviton/unet_synthetic/model.safetensors
"""

from mmengine.config import read_base

with read_base():
    from .unet_synthetic import *

load_from = "work_dirs/stableviton/unet_synthetic/model.safetensors"
iterations = 100

model.attention_losses = dict(
    smoothness=dict(
        type="AttentionTVLoss",
        layers=["blocks.*.attn2"],
        weight=0.05,  # the paper's 1e-3 needs 36 000 steps
    )
)
train_cfg.update(max_iters=iterations)
param_scheduler = [dict(type="LinearLR", start_factor=0.02, begin=0, end=20, by_epoch=False)]
optim_wrapper.optimizer.update(lr=1e-3)
