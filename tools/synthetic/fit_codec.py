"""Fit the linear codec of the toys on rendered people, and put it in the box with its card.

Example:
    python tools/synthetic/fit_codec.py
    python tools/synthetic/fit_codec.py --channels 24 --name linear_codec_24

Fits on person, garment, agnostic and pose pictures of the split `base`, scores 64 people of `val`,
writes vtonlab/zoo/<name>.safetensors (float16) and <name>.json. Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import hashlib
import shlex
import subprocess

SHOWN = ("person", "garment", "agnostic", "pose")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="linear_codec", help="of the card")
    parser.add_argument("--channels", type=int, default=16, help="coefficients of a block")
    parser.add_argument("--block", type=int, default=8, help="side of the overlapping blocks")
    parser.add_argument("--people", type=int, default=160, help="to fit on")
    parser.add_argument("--steps", type=int, default=2500, help="of the least-squares fit")
    parser.add_argument("--cache-dir", default="work_dirs/cache")
    return parser.parse_args(argv)


def main() -> int:
    args = parse_args()
    from safetensors.torch import save_file

    from vtonlab.backbones.linear_codec import LinearCodec, fit_linear_codec
    from vtonlab.zoo.box import HERE, Card, write_card

    fitted = fit_linear_codec(
        pictures(args.cache_dir, "base", args.people, SHOWN),
        args.channels,
        args.block,
        4,
        args.steps,
    )
    half = {name: tensor.half().contiguous() for name, tensor in fitted.items()}
    path = HERE / f"{args.name}.safetensors"
    save_file(half, path)
    codec = LinearCodec(weights={name: tensor.float() for name, tensor in half.items()})
    scores = {
        f"psnr_{key}": round(psnr(codec, pictures(args.cache_dir, "val", 64, (key,))), 2)
        for key in SHOWN
    }
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    write_card(
        Card(
            name=args.name,
            kind="codec",
            title=f"{args.channels} coefficients for 4x4 pixels, from blocks of {args.block}x"
            f"{args.block}",
            config="configs/bases/dit_bold.py",
            file=path.name,
            bytes=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            data=f"{args.people} people of SyntheticTryOn's split base, 128x96",
            command=shlex.join(["python", *sys.argv]),
            commit=commit.stdout.strip(),
            scores=scores,
            scored_on="64 people of split val, 128x96, dB",
        )
    )
    print(f"{path}: {path.stat().st_size} bytes", scores)
    return 0


def pictures(cache_dir: str, split: str, people: int, keys: tuple[str, ...]):
    """(people * len(keys), 3, 128, 96) float32 in [-1, 1]."""
    import numpy as np
    import torch

    from vtonlab.registry import DATASETS

    dataset = DATASETS.build(
        dict(
            type="SyntheticTryOn",
            split=split,
            size=(128, 96),
            length=people,
            categories=["upper_body"],
            hardness=(0.0, 0.6 if split == "base" else 0.5),
            cache_dir=cache_dir,
        )
    )
    shown = [sample[key] for sample in map(dataset.__getitem__, range(people)) for key in keys]
    return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float() / 127.5 - 1


def psnr(codec, shown) -> float:
    """Mean over pictures of the peak signal-to-noise ratio of a round trip, dB."""
    drawn = codec.decode(codec.encode(shown).latent_dist.mode()).sample.clamp(-1, 1)
    error = ((drawn - shown) / 2).square().mean((1, 2, 3))
    return float((-10 * error.log10()).mean())


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
