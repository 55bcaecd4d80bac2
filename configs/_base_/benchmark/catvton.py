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

# Rows for people of `val`: a weight that falls once attention has found its places, or is light.
corr = "model.attention_losses.correspondence"
over = {
    f"{corr}.end_iter": 400,
    f"{corr}.cooldown_iters": 200,
    "model.attention_losses.entropy": None,
}
own = dict(base="catvton", config="configs/catvton/unet_bold_coral.py")
rows["CORAL, until 400"] = own | dict(options=over)
rows["CORAL, weight 0.1"] = own | dict(options={f"{corr}.weight": 0.1})
