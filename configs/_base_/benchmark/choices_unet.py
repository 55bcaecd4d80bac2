"""How Leffa's flow loss and StableVITON's total variation are used on the UNets: rows for people of
``val``. 300 iterations of 8 people each, as in `unet.py` and `zero_unet.py`.
"""

from pathlib import Path
from runpy import run_path

unet, zero = (run_path(str(Path(__file__).with_name(f"{f}.py"))) for f in ("unet", "zero_unet"))
losses = "model.attention_losses"


def changed(row: dict, **settings) -> dict:
    """A row whose only loss has other settings."""
    ((name, loss),) = row["options"][losses].items()
    return dict(row, options={losses: {name: {**loss, **settings}}}, seeds=[0], ship=False)


flow, tv = unet["rows"]["flow"], zero["rows"]["TV"]
copies = [unet["bases"]["unet"]["aligned"]]

bases = unet["bases"] | zero["bases"]
rows = {
    "flow, last block": changed(flow, layers=copies),
    "flow, last block, one head": changed(flow, layers=copies, heads=[1]),
    "flow, last block, weight 0.05": changed(flow, layers=copies, weight=0.05),
    "flow, last block, weight 1": changed(flow, layers=copies, weight=1.0),
    "TV, second half": changed(tv, start_iter=150, warmup_iters=50),
    "TV, second half, weight 0.005": changed(tv, start_iter=150, warmup_iters=50, weight=0.005),
}
