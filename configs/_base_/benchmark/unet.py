"""Losses on the reference UNet, 300 iterations of 8 people each, from one base; two rows longer."""

from pathlib import Path
from runpy import run_path

make = run_path(str(Path(__file__).with_name("losses.py")))["rows"]
fine = [f"up_blocks.2.attentions.{n}.transformer_blocks.0.attn1" for n in range(2)]

bases = {"unet": dict(config="configs/bases/unet_bold.py", box="base_unet", aligned=fine[1])}
coral = dict(layers=fine[1:], weight=0.5)  # as configs/coral/unet_bold.py, chosen on `val`
rows = make("unet", "configs/leffa/unet_bold_baseline.py", fine, 150, coral, controls=True)

longer = {
    "train_cfg.max_iters": 3000,
    "param_scheduler.1.end": 3000,
    "train_dataloader.dataset.length": 3000,
}
for name, config in (("none", "leffa/unet_bold_baseline"), ("CORAL", "coral/unet_bold")):
    options = longer | (
        {"model.attention_losses.entropy.start_iter": 1500} if name == "CORAL" else {}
    )
    rows[f"{name}, longer"] = dict(
        base="unet", config=f"configs/{config}.py", options=options, seeds=[0], ship=True
    )

leffa = dict(base="unet", config="configs/leffa/unet_bold.py", options={}, ship=True)
rows["flow, last block"] = leffa  # what was chosen on `val` by `choices_unet.py`
