"""Test a checkpoint on a config's test data and write results.json.

Example:
    python tools/test.py configs/coral/dit_synthetic.py work_dirs/dit_synthetic/iter_800.pth

Exit codes: 0 done, 2 bad input.
"""

import argparse
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, add_safe

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="the config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help="iter_*.pth or model.safetensors; averaged weights")
    parser.add_argument("--out", help="folder for results.json; default work_dirs/<config>/test")
    add_safe(parser)
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from vtonlab.engine.config import finalize, load_config
    from vtonlab.engine.training import test

    config = load_config(args.config, args.cfg_options, safe=args.safe)
    finalize(config)
    out = Path(args.out) if args.out else Path(config.work_dir) / "test"
    results = test(config, args.checkpoint, out)
    for name, value in results["metrics"].items():
        print(f"{name:>32}: {value:.4f}" if isinstance(value, float) else f"{name:>32}: {value}")
    print(f"written to {out / 'results.json'}")


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
