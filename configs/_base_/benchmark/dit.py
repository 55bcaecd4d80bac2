"""Losses on the joint DiT, 600 iterations of 4 people each, from one base."""

from pathlib import Path
from runpy import run_path

make = run_path(str(Path(__file__).with_name("losses.py")))["rows"]
block = "single_transformer_blocks.2.attn"  # the base copies through it

bases = {"dit": dict(config="configs/bases/dit_bold.py", box="base_dit", aligned=block)}
rows = make("dit", "configs/coral/dit_bold_baseline.py", [block], 300)
for row in rows.values():
    row["options"]["test_evaluator.0.layers"] = [block]
    row["options"]["train_dataloader.dataset.maps"] = ["flow", "correspondences", "worn_mask"]
