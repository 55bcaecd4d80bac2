"""Losses on one UNet, person above garment (CatVTON), 300 iterations of 8 people each.

From the generative half of the reference UNets' base.
"""

from pathlib import Path
from runpy import run_path

make = run_path(str(Path(__file__).with_name("losses.py")))["rows"]
fine = [f"up_blocks.2.attentions.{n}.transformer_blocks.0.attn1" for n in range(2)]

bases = {"catvton": dict(config="configs/bases/unet_bold.py", box="base_unet", aligned=fine[1])}
coral = dict(layers=fine[1:], weight=0.5)  # as on the reference UNet
config = "configs/catvton/unet_bold.py"
rows = make("catvton", config, fine, 150, coral)
rows["CORAL, one head"] = make("catvton", config, fine, 150, coral | dict(heads=[1]))["CORAL"]

# Twice as long: six minutes of a core pair.
longer = {"train_cfg.max_iters": 600, "param_scheduler.1.end": 600}
for name in ("none", "CORAL", "CORAL, one head"):
    row = make("catvton", config, fine, 300, coral | (dict(heads=[1]) if "head" in name else {}))
    row = row[name.partition(",")[0]]
    rows[f"{name}, longer"] = dict(row, options=row["options"] | longer)
