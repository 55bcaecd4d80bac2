"""StableVITON's and SIFT-VTON's toys that ship: 4000 iterations of 8 people each, from one base."""

from pathlib import Path
from runpy import run_path

short = run_path(str(Path(__file__).with_name("zero_unet.py")))

bases, tv = short["bases"], short["smoothed"]
rows = {
    "TV, second half": dict(tv, config="configs/stableviton/unet_bold_long.py", seeds=[0]),
    "keypoints, first half": dict(tv, config="configs/sift_vton/unet_bold_long.py", seeds=[0]),
}
