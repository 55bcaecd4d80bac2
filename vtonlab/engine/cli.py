"""What the command-line tools share: one sentence and an exit code instead of a traceback."""

import argparse
import os
import re
import sys
from collections.abc import Callable

import torch
from mmengine.config import DictAction

from vtonlab.engine.running.loops import LoaderError

OK, FINDINGS, BAD_INPUT = 0, 1, 2
_OUT_OF_MEMORY = (
    "out of memory; levers, cheapest first: a smaller train_dataloader.batch_size with "
    "optim_wrapper.accumulative_counts, --amp, activation_checkpointing, fewer supervised layers, "
    "a smaller picture size"
)


class _Options(DictAction):
    """mmengine's, and ``key="{a: 1, b: text}"`` for a dictionary."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        import yaml

        given = dict(value.partition("=")[::2] for value in values)
        mappings = {key: text for key, text in given.items() if text.startswith("{")}
        others = [value for value in values if value.partition("=")[0] not in mappings]
        super().__call__(parser, namespace, others, option_string)
        for key, text in mappings.items():
            try:
                getattr(namespace, self.dest)[key] = yaml.safe_load(text)
            except yaml.YAMLError:
                parser.error(f"--cfg-options {key}={text}: write a dictionary as '{{a: 1, b: x}}'")


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
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and words in str(error)
    )


def sentence(error: BaseException) -> str:
    """An exception's message on one line, also from inside a loader's worker."""
    text = str(error).strip() or type(error).__name__
    if "Original Traceback" in text:
        text = re.sub(r"^[\w.]+(?:Error|Exception): ", "", text.splitlines()[-1])
    return " ".join(text.split())


def _report(text: str) -> None:
    if os.environ.get("VTONLAB_TRACEBACK"):
        import traceback

        traceback.print_exc()
    print(f"error: {text}", file=sys.stderr)
