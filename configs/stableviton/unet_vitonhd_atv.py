"""StableVITON's second stage: ``unet_vitonhd.py`` goes on with the attention total variation loss.

    python tools/train.py configs/stableviton/unet_vitonhd_atv.py \
        --cfg-options load_from=work_dirs/stableviton/unet_vitonhd/model.safetensors data_root=DIR
"""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

load_from = "work_dirs/stableviton/unet_vitonhd/model.safetensors"
iterations = 144000  # 36 000 steps of 32 (from memory)

model.attention_losses = dict(
    smoothness=dict(
        type="AttentionTVLoss",
        layers=["blocks.[147].*.attn2"],
        grids=[(32, 24)],  # D4: of these three the one at 32x24, whatever the picture size
        weight=1e-3,  # D3: centroids in token units
    )
)
released["model.attention_losses.smoothness.pair_count"] = "batch"
released["model.attention_losses.smoothness.mask_read_at"] = "corner"
train_dataloader.dataset.maps = ["agnostic", "mask", "garment_mask", "pose", "worn_mask"]
train_cfg.update(max_iters=iterations)
