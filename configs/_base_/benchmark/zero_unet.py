"""Losses on the UNet with zero cross-attention, 300 iterations of 8 people each, from one base."""

from pathlib import Path
from runpy import run_path

make = run_path(str(Path(__file__).with_name("losses.py")))["rows"]
read = [f"blocks.{n}.transformer.transformer_blocks.0.attn2" for n in range(4)]

bases = {
    "zero_unet": dict(
        config="configs/bases/zero_unet_bold.py", box="base_zero_unet", aligned=read[0]
    )
}
rows = make("zero_unet", "configs/stableviton/unet_bold.py", read, 150)
