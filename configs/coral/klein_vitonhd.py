"""Moved: this is ``configs/klein/dit_vitonhd.py``, kept for runs and configs that name the old
path.
"""

from mmengine.config import read_base

with read_base():
    from ..klein.dit_vitonhd import *
