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
    except (ValueError, FileNotFoundError) as error:
        code = _report(sentence(error), BAD_INPUT)
    except (FloatingPointError, LoaderError) as error:
        code = _report(sentence(error), FINDINGS)
    except torch.OutOfMemoryError as error:
        code = _report(f"{_OUT_OF_MEMORY} ({sentence(error)})", FINDINGS)
    except OSError as error:
        code = _report(sentence(error), BAD_INPUT)
    except ImportError as error:
        if "pip install" not in str(error):  # an optional part says how to get it
            raise
        code = _report(sentence(error), BAD_INPUT)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # torch's words for it on a CPU
            raise
        code = _report(f"{_OUT_OF_MEMORY} ({sentence(error)})", FINDINGS)
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    sys.exit(code)


def sentence(error: BaseException) -> str:
    """An exception's message on one line, also from inside a loader's worker."""
    text = str(error).strip() or type(error).__name__
    if "Original Traceback" in text:
        text = re.sub(r"^[\w.]+(?:Error|Exception): ", "", text.splitlines()[-1])
    return " ".join(text.split())


def _report(text: str, code: int) -> int:
    if os.environ.get("VTONLAB_TRACEBACK"):
        import traceback

        traceback.print_exc()
    print(f"error: {text}", file=sys.stderr)
    return code
