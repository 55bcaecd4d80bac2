"""Losses on one UNet, person above garment (CatVTON), 600 iterations of 8 people each.

From the generative half of the reference UNets' base, which has never seen two pictures in one
canvas.
"""

from pathlib import Path
from runpy import run_path

make = run_path(str(Path(__file__).with_name("losses.py")))["rows"]
none, taught = "configs/catvton/unet_bold.py", "configs/catvton/unet_bold_coral.py"
fine = [f"up_blocks.2.attentions.{n}.transformer_blocks.0.attn1" for n in range(2)]

bases = {"catvton": dict(config="configs/bases/unet_bold.py", box="base_unet", aligned=fine[1])}
coral = dict(layers=fine[1:], heads=[1], weight=0.5)
rows = make("catvton", none, fine, 300, coral) | {
    "CORAL, until 400": dict(base="catvton", config=taught, options={}, ship=True)
}

# Half as long, for people of `val`: which heads CORAL's losses teach.
short = {"train_cfg.max_iters": 300, "param_scheduler.1.end": 300}
for name, heads in {"none": {}, "CORAL": {}, "CORAL, one head": dict(heads=[1])}.items():
    half = dict(layers=fine[1:], weight=0.5) | heads
    row = make("catvton", none, fine, 150, half)[name.partition(",")[0]]
    rows[f"{name}, half"] = dict(row, options=row["options"] | short, ship=False)
