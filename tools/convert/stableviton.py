"""StableVITON's released checkpoints to vtonlab's and back.

Example:
    python tools/convert/stableviton.py VITONHD.ckpt checkpoints/stableviton_vitonhd.safetensors \\
        --folder checkpoints/stableviton_vitonhd
    python tools/test.py configs/stableviton/unet_vitonhd.py \\
        checkpoints/stableviton_vitonhd.safetensors \\
        --cfg-options pretrained=checkpoints/stableviton_vitonhd data_root=DIR
    python tools/convert/stableviton.py --back \\
        checkpoints/stableviton_vitonhd.safetensors again.ckpt

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
