"""The pair that ships after its third stage, and Leffa's toy: 3500 iterations more, for Leffa's
with its flow loss.
"""

from pathlib import Path
from runpy import run_path

second = run_path(str(Path(__file__).with_name("unet_wide_stage2.py")))

bases, none = second["bases"], second["rows"]["none"]
rows = {
    "none": dict(none, config="configs/leffa/unet_wide_bold_stage3.py"),
    "CORAL, let go": dict(none, config="configs/coral/unet_wide_bold_stage3.py"),
    "flow": dict(none, config="configs/leffa/unet_wide_bold.py"),
}
