"""What every section of the GPU card uses: rows, clocks, peaks, distances."""

import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def row(section: str, name: str, ok: bool | None, target: str, **measured) -> dict:
    """One line of the card; `ok` None for a number without a target."""
    return {"section": section, "name": name, "ok": ok, "target": target, **measured}


@contextmanager
def kernels_allowed(allowed: bool = True) -> Iterator[None]:
    """Attention statistics by the kernels, where a device has them, or by what torch has."""
    with mock.patch.dict(os.environ, VTONLAB_ATTENTION_KERNELS=str(int(allowed))):
        yield


def milliseconds(run: Callable[[], object], budget: float = 250.0, most: int = 20) -> float:
    """Median time of `run()` on the device, after a warm-up."""
    import time

    run()
    times = []
    budget = budget if DEVICE == "cuda" else budget / 10
    while len(times) < min(3, most) or (sum(times) < budget and len(times) < most):
        if DEVICE == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        else:
            begun = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def peak_megabytes(run: Callable[[], object]) -> float:
    """Most memory that `run()` adds on the device; 0 on the CPU."""
    if DEVICE != "cuda":
        return 0.0
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def distance(found: Tensor, wanted: Tensor) -> float:
    """|found - wanted| / |wanted|; infinite where something is not finite."""
    wanted = wanted.detach()
    found = found.detach().double().to(wanted.device)
    if not bool(found.isfinite().all()):
        return float("inf")
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-30))
