"""``tryon_synthetic.py`` after a first stage without the two losses, ``warp_synthetic_neither.py``.

The flow starts from the identity, as it was trained. What the method is compared with.
"""

from mmengine.config import read_base

with read_base():
    from .tryon_synthetic import *

load_parts = dict(warping="work_dirs/gcl3d/warp_synthetic_neither/model.safetensors")
model.warping.update(start="identity")
