"""What the command-line tools share: one sentence and an exit code instead of a traceback.

Neither torch nor mmengine is imported: help and slips of the finger are answered at once.
"""

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from vtonlab.engine.checkpoints.exported import is_export
from vtonlab.engine.config.early import check_early
from vtonlab.engine.running.errors import LoaderError

OK, FINDINGS, BAD_INPUT = 0, 1, 2
_OUT_OF_MEMORY = (
    "out of memory; levers, cheapest first: a smaller train_dataloader.batch_size with "
    "optim_wrapper.accumulative_counts, --amp, activation_checkpointing, fewer supervised layers, "
    "a smaller picture size"
)


class _Options(argparse.Action):
    """``KEY=VALUE`` as mmengine's `DictAction` reads it, and ``key="{a: 1, b: text}"``."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        options = dict(getattr(namespace, self.dest, None) or {})
        for word in values:
            key, equals, text = word.partition("=")
            if not equals:
                parser.error(f"--cfg-options {word}: write KEY=VALUE")
            options[key] = _mapping(parser, key, text) if text.startswith("{") else as_value(text)
        setattr(namespace, self.dest, options)


def _mapping(parser: argparse.ArgumentParser, key: str, text: str) -> Any:
    from vtonlab.utils.bounded import FileError, read_yaml

    try:
        return read_yaml(text, key)
    except FileError:
        parser.error(f"--cfg-options {key}={text}: write a dictionary as '{{a: 1, b: x}}'")


def as_value(text: str) -> Any:
    """A number, truth value, None, text, list (``1,2`` or ``[1,2]``) or tuple (``(1,2)``)."""
    text = text.strip("'\"").replace(" ", "")
    items = _items(text)
    if len(items) > 1 or text.endswith(","):
        return [as_value(item) for item in items]
    kind = {"()": tuple, "[]": list}.get(text[:1] + text[-1:])
    return kind(map(as_value, _items(text[1:-1]))) if kind else _single(text)


def _items(text: str) -> list[str]:
    """Parts between the commas that stand outside all brackets."""
    found, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            found.append(text[start:place])
            start = place + 1
    return found + ([text[start:]] if text[start:] else [])


def _single(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    words = {"true": True, "false": False}
    return None if text == "None" else words.get(text.lower(), text)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """The ``--cfg-options a.b=1 c.0.d=x e="{f: 1}"`` argument."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_Options,
        default={},
        metavar="KEY=VALUE",
        help="change existing config keys, such as data_root=DIR or train_cfg.max_iters=100",
    )


def add_safe(parser: argparse.ArgumentParser) -> None:
    """The ``--safe`` argument."""
    parser.add_argument(
        "--safe",
        action="store_true",
        help="refuse a config that could run code, and types outside the registries",
    )


def at_least(least: int) -> Callable[[str], int]:
    """The ``type`` of an argument: a whole number from ``least`` on."""

    def number(text: str) -> int:
        found = int(text)
        if found < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {found}")
        return found

    return number


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, of which `config`, `cfg_options`, `checkpoint` and `resume` are looked at.

    Raises:
        FileNotFoundError, ValueError: what can be seen to be wrong at once (`check_early`).
    """
    args = parser.parse_args(argv)
    resume, checkpoint = getattr(args, "resume", None), getattr(args, "checkpoint", None)
    if checkpoint is not None and is_export(checkpoint):
        checkpoint = None  # a folder, which its own reader looks at
    checkpoints = [checkpoint, None if resume == "auto" else resume]
    options = getattr(args, "cfg_options", None)
    check_early(getattr(args, "config", None), options, checkpoints=checkpoints)
    return args


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool and exit: 0 done, 1 done with findings or stopped, 2 bad input.

    ``ValueError`` and ``FileNotFoundError`` print ``error: <one sentence>``; with
    ``VTONLAB_TRACEBACK=1`` in the environment the traceback comes first.
    """
    try:
        code = main() or OK
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        text = sentence(error)
        _report(f"{_OUT_OF_MEMORY} ({text})" if _no_memory(error) else text)
    sys.stdout.flush()
    sys.exit(code)


def exit_code(error: BaseException) -> int | None:
    """What a tool exits with; None for an error that no user can mend: a traceback says more."""
    if isinstance(error, (FloatingPointError, LoaderError)) or _no_memory(error):
        return FINDINGS
    if isinstance(error, (ValueError, OSError)):
        return BAD_INPUT
    if isinstance(error, ImportError) and "pip install" in str(error):
        return BAD_INPUT  # an optional part says how to get it
    return None


def _no_memory(error: BaseException) -> bool:
    words = "can't allocate memory"  # torch's on a CPU
    torch = sys.modules.get("torch")
    return isinstance(error, (MemoryError, *([torch.OutOfMemoryError] if torch else []))) or (
        isinstance(error, RuntimeError) and words in str(error)
    )


def sentence(error: BaseException) -> str:
    """An exception's message on one line, also from inside a loader's worker."""
    text = str(error).strip() or type(error).__name__
    if "Original Traceback" in text:
        text = re.sub(r"^[\w.]+(?:Error|Exception): ", "", text.splitlines()[-1])
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = f"the disk is full ({text}): free some, then run the same command again"
    return " ".join(text.split())


def _report(text: str) -> None:
    if os.environ.get("VTONLAB_TRACEBACK"):
        import traceback

        traceback.print_exc()
    print(f"error: {text}", file=sys.stderr)
