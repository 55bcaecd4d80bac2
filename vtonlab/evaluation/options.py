"""The options that tools/evaluate.py and tools/test.py share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vtonlab.evaluation.protocol import Protocol


def add_protocol_options(
    parser: argparse.ArgumentParser, folder: Path, several: bool = False
) -> None:
    """``--protocol``, ``--size``, ``--exclude`` and ``--weights``.

    Args:
        folder: of the protocols' configs.
        several: whether ``--protocol`` takes more than one, and must be given.
    """
    names = ", ".join(sorted(path.stem for path in folder.glob("*.py")))
    parser.add_argument(
        "--protocol",
        nargs="+" if several else None,
        required=several,
        metavar="NAME",
        help=f"one of {names}, or a config file",
    )
    parser.add_argument("--size", metavar="HxW", help="compare at this size, not the protocol's")
    parser.add_argument(
        "--exclude", metavar="FILE", help="leave these people out: a list of leaks and duplicates"
    )
    parser.add_argument(
        "--weights", metavar="DIR", help="folder of metric weights; else torch hub's cache"
    )


def protocol_from(name: str, args: argparse.Namespace, folder: Path) -> Protocol:
    """The protocol that the shared options ask for.

    Raises:
        FileNotFoundError, ValueError: no such protocol or weights folder, or no size.
    """
    from vtonlab.evaluation.evaluate import at_size
    from vtonlab.evaluation.protocol import load_protocol
    from vtonlab.evaluation.weights import set_weights_folder

    if args.weights is not None:
        set_weights_folder(args.weights)
    size = None
    if args.size is not None:
        try:
            height, width = (int(part) for part in args.size.lower().split("x"))
        except ValueError:
            raise ValueError(f"--size {args.size} is no HEIGHTxWIDTH such as 512x384") from None
        size = (height, width)
    return at_size(load_protocol(name, folder), size)
