"""At which precision statistics of attention are computed."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def statistics_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if any tensor is, else float32: half precisions are raised before anything is summed."""
    if any(tensor.dtype == torch.float64 for tensor in tensors):
        return torch.float64
    return torch.float32


def at_full_precision(tensor: Tensor) -> AbstractContextManager:
    """Context without autocast on the device of `tensor`, so that matmuls stay as they are."""
    return torch.autocast(tensor.device.type, enabled=False)
