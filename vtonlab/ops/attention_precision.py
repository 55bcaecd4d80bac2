"""At which precision statistics of attention are computed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# Scores that may be larger than this (in units of the logits) are computed in float64 on CPUs.
SHARP_SCORE = 24.0
# ... where query and key together have at most so many elements, so that memory stays small.
SHARP_ELEMENTS = 1 << 22


def statistics_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if any tensor is, else float32: half precisions are raised before any sum."""
    if any(tensor.dtype == torch.float64 for tensor in tensors):
        return torch.float64
    return torch.float32


def working_dtype(query: Tensor, key: Tensor, scale: float) -> torch.dtype:
    """Precision inside: that of the statistics, but float64 for possibly very sharp maps on CPUs.

    A float32 score near 100 (3D-GCL's scale) is off by 1e-5, and so is every probability; where a
    map is close to one-hot, gradients are differences of such numbers. Large tensors stay at
    float32, and so do GPUs, where float64 is slow and reading the bound would stall the queue.

    Args:
        query, key: (B, H, Nq, D), (B, H, Nk, D).
        scale: factor of the dot products.
    """
    dtype = statistics_dtype(query, key)
    sizes = query.numel(), key.numel()
    if dtype == torch.float64 or query.device.type != "cpu":
        return dtype
    if min(sizes) == 0 or sum(sizes) > SHARP_ELEMENTS:
        return dtype
    with torch.no_grad():
        longest = [t.float().square().sum(-1).max().sqrt() for t in (query, key)]
    bound = abs(scale) * float(longest[0] * longest[1])
    return torch.float64 if bound > SHARP_SCORE else dtype


@contextmanager
def at_full_precision(tensor: Tensor) -> Iterator[None]:
    """Without autocast on the device of `tensor`, and without TF32, whatever a program allowed: a
    float32 score of TF32 operands is off by 4e-3.
    """
    with torch.autocast(tensor.device.type, enabled=False):
        if tensor.device.type != "cuda":
            yield
            return
        before = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        try:
            yield
        finally:
            torch.backends.cuda.matmul.fp32_precision = before
