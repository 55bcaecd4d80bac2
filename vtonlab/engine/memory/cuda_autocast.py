"""What autocast does on CUDA and not on a CPU, for passes that stand for a GPU's.

There norms, softmaxes and powers are computed in float32 and give float32: maps of twice the size
of those that the same network leaves on a CPU (a block of FLUX has four layer norms of
9 728 x 3 072 numbers).
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

# Of torch's list of operations that autocast to float32 on CUDA, those that networks use. Methods
# and functions of one name are different objects.
IN_FLOAT32 = frozenset(
    [
        *(F.layer_norm, F.group_norm, F.rms_norm, torch.layer_norm, torch.group_norm),
        *(torch.rms_norm, F.softmax, F.log_softmax, torch.softmax, Tensor.softmax),
        *(torch.pow, Tensor.pow, Tensor.__pow__, torch.rsqrt, Tensor.rsqrt),
        *(torch.exp, Tensor.exp, torch.log, Tensor.log, F.softplus),
        *(F.mse_loss, F.l1_loss, F.cosine_similarity, torch.norm, Tensor.norm),
    ]
)
_HALF = (torch.bfloat16, torch.float16)


class CudaAutocast(TorchFunctionMode):
    """While active, autocast on the CPU raises to float32 what it would raise on CUDA."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(_raised, (args, kwargs))
        return func(*args, **kwargs)


def _raised(value):
    is_half = isinstance(value, Tensor) and value.dtype in _HALF
    return value.float() if is_half else value
