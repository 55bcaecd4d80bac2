"""Losses on the reference UNet, 300 iterations of 8 people each, from one base."""

from pathlib import Path
from runpy import run_path

make = run_path(str(Path(__file__).with_name("losses.py")))["rows"]
fine = [f"up_blocks.2.attentions.{n}.transformer_blocks.0.attn1" for n in range(2)]

bases = {"unet": dict(config="configs/bases/unet_bold.py", box="base_unet", aligned=fine[1])}
rows = make("unet", "configs/leffa/unet_bold_baseline.py", fine, 150, controls=True)
