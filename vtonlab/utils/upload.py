"""From the host to a device without waiting for what runs there."""

import functools

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """``tensor`` of the host on ``device``, through pinned memory where that is a CUDA device.

    A copy from pageable memory waits until the device has done all it was asked before.
    """
    device = torch.device(device)
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = pinned(tensor).to(device, non_blocking=True)
    return tensor.to(device, dtype)


@functools.cache
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """``(n,)`` numbers on a device, sent there once; not to be changed."""
    return upload(torch.tensor(values, dtype=dtype), device)


def pinned(tensor: Tensor) -> Tensor:
    """In memory that a device reads by itself."""
    return tensor if tensor.is_pinned() else tensor.pin_memory()
