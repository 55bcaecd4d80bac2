"""The pair that ships after its second stage: 2500 iterations more, without attention losses."""

from pathlib import Path
from runpy import run_path

first = run_path(str(Path(__file__).with_name("unet_wide.py")))

bases, rows = first["bases"], first["rows"]
rows = {
    "none": dict(rows["none"], config="configs/leffa/unet_wide_bold_stage2.py"),
    "CORAL, let go": dict(rows["CORAL"], config="configs/coral/unet_wide_bold_stage2.py"),
}
