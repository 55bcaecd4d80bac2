"""SIFT-VTON's released checkpoints to vtonlab's and back.

Its files have StableVITON's keys and one buffer more, which its attention never reads; the weights
of decoder, head and first convolution differ, since SIFT-VTON trains them.

Example:
    python tools/convert/sift_vton.py VITONHD.ckpt checkpoints/sift_vton_vitonhd.safetensors \\
        --folder checkpoints/sift_vton_vitonhd
    python tools/test.py configs/sift_vton/unet_vitonhd.py \\
        checkpoints/sift_vton_vitonhd.safetensors \\
        --cfg-options pretrained=checkpoints/sift_vton_vitonhd data_root=DIR
    python tools/convert/sift_vton.py --back \\
        checkpoints/sift_vton_vitonhd.safetensors again.ckpt

``--folder`` writes the frozen parts (UNet, VAE, CLIP with its projection) where a config's
``pretrained`` finds them: checkpoints of training runs hold what was trained alone.
The converted weights say that they are published ones: testing them samples as the authors'
program does (``as_released``). The last lines are a self-check: the model, called once.

Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
from zero_cross_attention import parse_args, run


def main() -> int:
    print(run(parse_args(__doc__)))
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
