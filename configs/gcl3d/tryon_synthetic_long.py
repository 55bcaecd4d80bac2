"""3D-GCL's toy that ships, after ``warp_synthetic_long.py``:

    python tools/train_stages.py configs/gcl3d/warp_synthetic_long.py \\
        configs/gcl3d/tryon_synthetic_long.py
"""

from mmengine.config import read_base

with read_base():
    from .tryon_synthetic import *

load_parts = dict(warping="work_dirs/gcl3d/warp_synthetic_long/model.safetensors")
iterations = 4000

model.update(keep_warps=1200)
train_dataloader.dataset.update(length=1200)
train_cfg.update(max_iters=iterations)
