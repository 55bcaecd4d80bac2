"""Print a config as a run would see it, or as text without running it.

Example:
    python tools/print_config.py configs/coral/dit_synthetic.py --cfg-options data_root=data/x
    python tools/print_config.py someone_elses_config.py --static   # the text, with base files
    python tools/print_config.py someone_elses_config.py --safe     # the values, or a refusal

Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, add_safe

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument(
        "--static",
        action="store_true",
        help="show the file and its base files without executing anything",
    )
    add_safe(parser)
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from vtonlab.engine.config.early import check_early

    if not args.static:
        check_early(args.config, args.cfg_options, whole=False)
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.config.sources import static_text

    if args.static:
        print(static_text(args.config))
        return
    config = load_config(args.config, args.cfg_options, safe=args.safe)
    print(finalize(config).pretty_text)


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
