"""Losses on one UNet, person above garment (CatVTON), 600 iterations of 8 people each.

From the generative half of the reference UNets' base, which has never looked across.
"""

from pathlib import Path
from runpy import run_path

make = run_path(str(Path(__file__).with_name("losses.py")))["rows"]
fine = [f"up_blocks.2.attentions.{n}.transformer_blocks.0.attn1" for n in range(2)]

bases = {"catvton": dict(config="configs/bases/unet_bold.py", box="base_unet", aligned=fine[1])}
coral = dict(layers=fine[1:], heads=[1], weight=0.5)  # as configs/catvton/unet_bold_coral.py
rows = make("catvton", "configs/catvton/unet_bold.py", fine, 300, coral)
