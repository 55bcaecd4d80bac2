"""Losses on the UNet with zero cross-attention, 300 iterations of 8 people each, from one base."""

from pathlib import Path
from runpy import run_path

make = run_path(str(Path(__file__).with_name("losses.py")))["rows"]
fine = "blocks.3.transformer.transformer_blocks.0.attn2"  # the base copies through it

bases = {
    "zero_unet": dict(config="configs/bases/zero_unet_bold.py", box="base_zero_unet", aligned=fine)
}
coral = dict(weight=0.5)  # as on the reference UNet
rows = make("zero_unet", "configs/stableviton/unet_bold.py", [fine], 150, coral)

smoothed = dict(base="zero_unet", config="configs/stableviton/unet_bold_atv.py", options={})
rows["TV, second half"] = smoothed | dict(ship=True)  # chosen on `val` by `choices_unet.py`
