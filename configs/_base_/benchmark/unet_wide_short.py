"""CORAL's losses on the wide reference UNet and without, 600 iterations of 8 in bfloat16: six
minutes of a core pair. The first stage of the pair that ships, a fifth as long.
"""

from pathlib import Path
from runpy import run_path

shipped = run_path(str(Path(__file__).with_name("unet_wide.py")))

iterations = 600
short = {
    "train_cfg.max_iters": iterations,
    "param_scheduler.1.end": iterations,
    "optim_wrapper.type": "AutocastOptimWrapper",
}
sharpened = {"model.attention_losses.entropy.start_iter": iterations // 2}

bases = shipped["bases"]
rows = {
    name: dict(row, options=short | (sharpened if name == "CORAL" else {}), seeds=[0, 1, 2])
    for name, row in shipped["rows"].items()
}
