"""Ablations of CORAL's two losses and of Leffa's one on the reference UNet, 300 iterations of 8
people each, beside the rows of `unet.py`: *none*, *CORAL* and *flow, last block*.

Leffa's paper varies temperature, noise levels, averaging over heads and upsampling (its ablation
figure and table).
"""

from pathlib import Path
from runpy import run_path

unet = run_path(str(Path(__file__).with_name("unet.py")))
losses = "model.attention_losses"
both = unet["rows"]["CORAL"]


def alone(name: str) -> dict:
    """CORAL's row with one of its losses."""
    return dict(both, options={losses: {name: both["options"][losses][name]}}, ship=False)


def flow(**settings) -> dict:
    """Leffa's row with other settings of its loss."""
    options = {f"{losses}.flow.{key}": value for key, value in settings.items()}
    return dict(unet["rows"]["flow, last block"], options=options, ship=False)


bases = unet["bases"]
rows = {
    "CORAL, distillation alone": alone("correspondence"),
    "CORAL, entropy alone": alone("entropy"),
    "flow, each head": flow(head_reduction="none"),
    "flow, temperature 0.1": flow(temperature=0.1),
    "flow, less noise": flow(t_max=500),
    "flow, upsampled": flow(upsample=True),
}
