"""Two runs compared to the bit: checkpoints, and the lines that they logged."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

STATE = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers")
CLOCKS = ("time", "data_time", "memory", "eta")  # differ between any two runs


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in nested dictionaries and lists."""
    if isinstance(node, (dict, list, tuple)):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    else:
        yield path, node


def state_of(checkpoint: dict) -> dict[str, Any]:
    """All that training continues from: parameters, averages, optimisers, schedules."""
    return dict(leaves({key: checkpoint[key] for key in STATE if key in checkpoint}))


def differing(a: dict, b: dict) -> list[str]:
    """Names of what differs between two checkpoints, to the bit; metadata aside."""
    mine, theirs = state_of(a), state_of(b)
    names = sorted(set(mine) ^ set(theirs))
    return names + [name for name in mine if name in theirs and not same(mine[name], theirs[name])]


def same(a: Any, b: Any) -> bool:
    """Equal in every bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    return a == b


def fingerprint(checkpoint: dict) -> str:
    """MD5 over the bytes of all tensors."""
    digest = hashlib.md5(usedforsecurity=False)
    for name, value in sorted(state_of(checkpoint).items()):
        if isinstance(value, torch.Tensor):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def logged(work_dir: str | Path) -> dict[tuple[int, str], set[float]]:
    """Every value that any run in ``work_dir`` logged, by (step, name); clocks left out."""
    found: dict[tuple[int, str], set[float]] = {}
    for path in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        for line in path.read_text().splitlines():
            row = json.loads(line) if line.endswith("}") else {}  # a kill may cut the last line
            for name, value in row.items():
                if name not in (*CLOCKS, "step", "iter"):
                    found.setdefault((row["step"], name), set()).add(value)
    return found


def differing_logs(calm: str | Path, disturbed: str | Path) -> list[str]:
    """``step name`` of logged values that are missing, or not the same in all runs."""
    a, b = logged(calm), logged(disturbed)
    return [f"{step} {name}" for step, name in sorted(a) if a[step, name] != b.get((step, name))]
