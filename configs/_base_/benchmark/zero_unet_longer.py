"""CORAL's losses on the UNet with zero cross-attention and without, 600 iterations of 8: six
minutes of a core pair, twice as long as `zero_unet.py`.
"""

from pathlib import Path
from runpy import run_path

beside = Path(__file__)
make = run_path(str(beside.with_name("losses.py")))["rows"]
short = run_path(str(beside.with_name("zero_unet.py")))

iterations = 600
longer = {
    "train_cfg.max_iters": iterations,
    "param_scheduler.1.end": iterations,
    "train_dataloader.dataset.length": 3000,
}


def row(name: str, weight: float = 0.5) -> dict:
    """One of the two rows, ``iterations`` long."""
    config, layers = "configs/stableviton/unet_bold.py", [short["fine"]]
    made = make("zero_unet", config, layers, iterations // 2, dict(weight=weight))[name]
    return dict(made, options=made["options"] | longer, ship=False)


bases = short["bases"]
rows = {
    "none": row("none"),
    "CORAL": row("CORAL"),
    "CORAL, weight 2": row("CORAL", weight=2.0),
}
