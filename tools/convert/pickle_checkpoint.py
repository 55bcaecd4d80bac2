"""Turn an old pickled checkpoint into one that loads without running code.

A pickle runs whatever its author wrote into it, while it is read. Convert only files whose origin
you know, best on a machine that holds nothing of value.

Example:
    python tools/convert/pickle_checkpoint.py old.ckpt new.safetensors --i-trust-this-file

Tensors and plain values (numbers, text, lists, dictionaries) are kept; everything else is dropped
and listed. ``.safetensors`` keeps the weights alone (``state_dict``, or the file itself where it
is one); ``.pth`` keeps the rest too.

Exit codes: 0 done, 1 done and something was dropped, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from pathlib import Path
from typing import Any

_DROPPED = object()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a pickled checkpoint (.pth, .pt, .ckpt, .bin)")
    parser.add_argument("target", type=Path, help="the new file: .safetensors or .pth")
    parser.add_argument(
        "--i-trust-this-file",
        action="store_true",
        help="reading SOURCE executes the code it holds, and you accept that",
    )
    return parser.parse_args(argv)


def keep_plain(value: Any, path: str, dropped: list[str]) -> Any:
    """Tensors and plain values of a nested structure; the paths of the rest go to ``dropped``."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if type(value) in (int, float, str, bool, type(None)):
        return value
    if isinstance(value, dict):
        kept = {
            key if isinstance(key, int) else str(key): keep_plain(item, f"{path}.{key}", dropped)
            for key, item in value.items()
        }
        return {key: item for key, item in kept.items() if item is not _DROPPED}
    if isinstance(value, (list, tuple)):
        kept = [keep_plain(item, f"{path}.{i}", dropped) for i, item in enumerate(value)]
        return [item for item in kept if item is not _DROPPED]
    dropped.append(f"{path.strip('.')} ({type(value).__name__})")
    return _DROPPED


def main() -> int:
    args = parse_args()
    import torch

    from vtonlab.engine.checkpoints.files import save_checkpoint_file, save_safetensors
    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.utils.bounded.source import naming_file
    from vtonlab.utils.bounded.tensors import check_start

    if not args.source.is_file():
        raise FileNotFoundError(f"no checkpoint at {args.source}")
    if args.target.suffix not in (".safetensors", ".pth"):
        raise ValueError(f"{args.target}: the new file must end in .safetensors or .pth")
    if not args.i_trust_this_file:
        raise ValueError(
            f"reading {args.source} executes the code inside it: add --i-trust-this-file if you "
            f"know where it comes from"
        )
    dropped: list[str] = []
    with naming_file(args.source):
        check_start(args.source)
        loaded = torch.load(args.source, map_location="cpu", weights_only=False)
    kept = keep_plain(loaded, "", dropped)
    if not isinstance(kept, dict):
        raise ValueError(f"{args.source} holds a {type(loaded).__name__}, not a dictionary")
    if args.target.suffix == ".pth":
        save_checkpoint_file(kept, args.target)
    else:
        state = kept.get("state_dict", kept)
        plain = state.items() if isinstance(state, dict) else ()
        tensors = {k: v for k, v in plain if isinstance(v, torch.Tensor)}
        if not tensors:
            raise ValueError(f"{args.source} holds no weights at its top level or in state_dict")
        save_safetensors(tensors, args.target, {"converted_from": args.source.name})
    for path in dropped:
        print(f"dropped {path}")
    print(f"written {args.target}")
    return FINDINGS if dropped else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
