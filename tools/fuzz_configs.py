"""Change one value of a config at a time into nonsense, and see what a user would be told.

Each change goes the way of a training up to the end of its first iteration. Wanted: one sentence
that names the key, before training. A traceback, a hang and nonsense that is accepted in silence
are findings. All of it runs in one process, a few cases a second; the seed fixes the cases.

Example:
    python tools/fuzz_configs.py --cases 320 --out work_dirs/fuzz
    python tools/fuzz_configs.py configs/coral/dit_synthetic.py --cases 40

Accepted on purpose, though a fuzz must ask: other names and None of `cache_dir`; None where a class
documents what it means (`categories`, `layers`, `mp_start_method`); 0 that switches something off
(`weight_decay`, `num_workers`, a loss's `weight`, `lr`); huge intervals, windows and counts of kept
files ("only at the end", "all"); batches of validation and test larger than the data.

Writes `cases.json` and `table.md` into `--out`. Exit codes: 0 no traceback and no hang, 1 some.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import copy
import json
import logging
import random
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CONFIGS = (
    "configs/coral/dit_synthetic.py",
    "configs/catvton/unet_synthetic.py",
    "configs/leffa/unet_synthetic.py",
    "configs/sift_vton/unet_synthetic.py",
    "configs/gcl3d/warp_synthetic.py",
    "configs/gcl3d/tryon_synthetic.py",
)
ADDRESS_SPACE = 24 << 30  # bytes: a huge size is a MemoryError, not the machine's end
_HARMLESS = ("zero", "huge")  # may well mean something: listed apart from plain nonsense
_LOCAL = ("work_dir", "launcher", "data_root")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", default=[str(ROOT / path) for path in CONFIGS])
    parser.add_argument("--cases", type=int, default=320, help="changes over all configs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alarm", type=float, default=30.0, help="seconds: longer is a hang")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/fuzz"))
    return parser.parse_args(argv)


# what is changed ----------------------------------------------------------------------------


def leaves(node: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Path and value of everything in a config that is no dictionary and no list of them."""
    if isinstance(node, dict):
        for key, value in node.items():
            if not (not path and (key in _LOCAL or callable(value))):
                yield from leaves(value, (*path, key))
    elif isinstance(node, (list, tuple)) and any(isinstance(item, dict) for item in node):
        for number, item in enumerate(node):
            yield from leaves(item, (*path, number))
    else:
        yield path, node


def changes(path: tuple, value: Any) -> dict[str, Any]:
    """Kind of nonsense -> the value to put there."""
    found: dict[str, Any] = {"none": None, "list": [value], "dict": {"a": 1}, "text": "banana"}
    if isinstance(value, bool):
        found |= {"text": str(value), "number": 3}
        del found["none"]
    elif isinstance(value, (int, float)):
        found |= {"negative": -abs(value) - 1, "nan": float("nan"), "inf": float("inf")}
        found |= {"zero": 0, "huge": 10**9 if isinstance(value, int) else 1e12}
    elif isinstance(value, str):
        found |= {"number": 3, "misspelt": value[:-1] + "x" + value[-1:]}
        del found["text"]
    elif isinstance(value, (list, tuple)):
        found |= {"number": 3, "negative": [-64] * max(len(value), 1), "empty": []}
        del found["list"]
    if value is None:
        del found["none"], found["list"]
    if path[-1] == "type":
        found["key"] = _RENAME
    return found


_RENAME = object()  # the key itself is misspelt


def cases(config: Any, count: int, draw: random.Random) -> list[tuple[tuple, str, Any]]:
    """``count`` different changes of a config: leaves in random order, each with a random kind."""
    pool = list(leaves(config))
    found: list[tuple[tuple, str, Any]] = []
    used: set[tuple] = set()
    while len(found) < count:
        draw.shuffle(pool)
        before = len(found)
        for path, value in pool:
            left = {k: v for k, v in changes(path, value).items() if (path, k) not in used}
            if left and len(found) < count:
                kind = draw.choice(sorted(left))
                used.add((path, kind))
                found.append((path, kind, left[kind]))
        if len(found) == before:
            break
    return found


def changed(config: Any, path: tuple, value: Any) -> Any:
    """A copy of ``config`` with ``value`` at ``path``."""
    config = copy.deepcopy(config)
    node = config._cfg_dict
    for part in path[:-1]:
        node = node[part]
    if value is _RENAME:
        node["typ"] = node.pop(path[-1])
    elif isinstance(node, tuple):
        raise AssertionError("leaves inside tuples are not changed")
    else:
        node[path[-1]] = value
    return config


# what comes of it ---------------------------------------------------------------------------


class Reached(BaseException):
    """The first iteration is done: the change was accepted."""


class Hang(BaseException):
    """The alarm rang."""


def first_iteration(config: Any, folder: Path) -> None:
    """A user's training, up to the end of its first iteration; ends in `Reached` or an error."""
    from mmengine.hooks import Hook

    from vtonlab.engine.config.load import finalize
    from vtonlab.engine.config.naming import naming_keys
    from vtonlab.engine.hooks import SaveOnSignalHook
    from vtonlab.engine.running.training import prepare

    class Stop(Hook):
        priority = "LOWEST"

        def after_train_iter(self, *args, **kwargs) -> None:
            raise Reached

    finalize(config, work_dir=str(folder))
    runner = prepare(config)
    runner.register_hook(Stop())
    try:
        with naming_keys(config):
            runner.train()
    finally:
        for hook in runner.hooks:
            if isinstance(hook, SaveOnSignalHook):
                hook.after_train(runner)


def told(config: Any, folder: Path, alarm: float) -> tuple[str, str]:
    """``refused``, ``stopped``, ``accepted``, ``traceback`` or ``hang``, and what is printed."""
    from vtonlab.engine.cli import exit_code, sentence

    def ring(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, alarm)
    try:
        first_iteration(config, folder)
    except Reached:
        return "accepted", ""
    except Hang:
        return "hang", "".join(traceback.format_exc().splitlines()[-4:])
    except Exception as error:
        code = exit_code(error)
        if code is None:
            return "traceback", traceback.format_exc()
        return ("refused" if code == 2 else "stopped"), sentence(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError("a training of one iteration ends in Reached")


def names_key(path: tuple, text: str) -> bool:
    """Whether a sentence names what was changed: its own key, or the one above a ``type``."""
    names = [str(part) for part in path if not isinstance(part, int)]
    wanted = names[-1] if names[-1] != "type" or len(names) == 1 else names[-2]
    return re.search(rf"\b{re.escape(wanted)}\b", text) is not None


def fuzz(
    paths: list[str], count: int, seed: int, alarm: float, scratch: Path, shrink=None
) -> list[dict[str, Any]]:
    """All cases, each with what came of it.

    Args:
        shrink: changes a loaded config before it is fuzzed, in place.
    """
    from vtonlab.engine.config.load import load_config

    found = []
    draw = random.Random(seed)
    for place, path in enumerate(paths):
        config = load_config(path)
        share = count // len(paths) + (place < count % len(paths))
        config.pop("load_parts", None)  # another training's weights
        picked = cases(config._cfg_dict.to_dict(), share, draw)
        if shrink is not None:
            shrink(config)
        for where, kind, value in picked:
            start = time.perf_counter()
            outcome, text = told(changed(config, where, value), scratch / "run", alarm)
            found.append({
                "config": path, "key": ".".join(map(str, where)), "kind": kind,
                "value": "(key misspelt)" if value is _RENAME else repr(value),
                "outcome": outcome, "named": names_key(where, text), "text": text,
                "seconds": round(time.perf_counter() - start, 2),
            })  # fmt: skip
            print(f"{len(found)}/{count} {outcome} {found[-1]['key']}={found[-1]['value']}",
                  file=sys.stderr, flush=True)  # fmt: skip
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: outcomes by kind of change, and what was accepted or badly told."""
    outcomes = ("refused", "accepted", "stopped", "traceback", "hang")
    lines = [f"| change | {' | '.join(outcomes)} |", "|---|" + "--:|" * len(outcomes)]
    for kind in [*sorted({case["kind"] for case in found}), "all"]:
        counts = Counter(c["outcome"] for c in found if kind in (c["kind"], "all"))
        lines.append(f"| {kind} | {' | '.join(str(counts[o]) for o in outcomes)} |")
    refused = [case for case in found if case["outcome"] == "refused"]
    named = sum(case["named"] for case in refused)
    share = 100 * named / max(len(refused), 1)
    lines += ["", f"{named} of {len(refused)} refusals name the key ({share:.1f} %)."]
    for title, wanted in (
        ("Tracebacks and hangs", lambda c: c["outcome"] in ("traceback", "hang")),
        ("Refusals that do not name the key", lambda c: c in refused and not c["named"]),
        ("Stopped at the first iteration", lambda c: c["outcome"] == "stopped"),
        ("Accepted", lambda c: c["outcome"] == "accepted" and c["kind"] not in _HARMLESS),
        ("Accepted: zero or huge", lambda c: c["outcome"] == "accepted" and c["kind"] in _HARMLESS),
    ):  # fmt: skip
        shown = [case for case in found if wanted(case)]
        lines += ["", f"## {title}: {len(shown)}", ""]
        for case in shown:
            last = case["text"].strip().splitlines()[-1:] or [""]
            lines.append(f"- `{case['key']}={case['value']}` ({case['config']}) {last[0][:300]}")
    return "\n".join(lines) + "\n"


def main() -> int:
    args = parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="vtonlab-fuzz-") as scratch:
        found = fuzz(args.configs, args.cases, args.seed, args.alarm, Path(scratch))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "cases.json").write_text(json.dumps(found, indent=1) + "\n")
    text = table(found)
    (args.out / "table.md").write_text(text)
    print(text)
    return int(any(case["outcome"] in ("traceback", "hang") for case in found))


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
