"""Meta tensors through a network, without torch's detour through Python for each operation.

Torch tells the shape of a normalisation on the meta device by running its whole decomposition. A
check at the start of every run only wants shapes, so the commonest calls are answered here. What
does not fit together goes to torch itself, whose error is the right one.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SAME = frozenset([F.silu, F.gelu, F.relu, F.softmax, F.dropout, F.mish, Tensor.softmax])
_BINARY = frozenset(
    getattr(Tensor, name)
    for name in ("add", "sub", "mul", "div", "__add__", "__sub__", "__mul__", "__truediv__",
                 "__radd__", "__rmul__")
)  # fmt: skip


class ShapesAlone(TorchFunctionMode):
    """Answers the commonest calls with an empty tensor of the right shape; enter it inside
    ``torch.device("meta")`` and ``torch.no_grad()``.
    """

    def __torch_function__(self, func: Callable, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        shape = _shape(func, args, kwargs) if args and _is_meta(args[0]) else None
        if shape is None:
            return func(*args, **kwargs)
        return torch.empty(shape, dtype=args[0].dtype, device="meta")


def _shape(func: Callable, args: tuple, kwargs: dict) -> torch.Size | tuple | None:
    """Of the answer, or None where torch shall say it."""
    x = args[0]
    if func in _BINARY:
        return _of_two(x, args[1]) if len(args) == 2 and not kwargs else None
    if kwargs.get("dtype") is not None or kwargs.get("out") is not None:
        return None
    if func in _SAME:
        return x.shape
    if func is F.linear:
        weight = _argument(args, kwargs, 1, "weight")
        fits = weight.dim() == 2 and weight.dtype == x.dtype and x.shape[-1] == weight.shape[1]
        return (*x.shape[:-1], weight.shape[0]) if fits else None
    if func in (F.group_norm, F.layer_norm, F.rms_norm):
        return x.shape if _normalised(func, x, args, kwargs) else None
    if func is F.scaled_dot_product_attention:
        key, value = _argument(args, kwargs, 1, "key"), _argument(args, kwargs, 2, "value")
        fits = x.shape[:-2] == key.shape[:-2] and x.shape[-1] == key.shape[-1]
        fits = fits and key.shape[:-1] == value.shape[:-1]
        return (*x.shape[:-1], value.shape[-1]) if fits else None
    return None


def _of_two(x: Tensor, other: Tensor | float) -> torch.Size | None:
    if isinstance(other, (int, float)):
        return x.shape if x.is_floating_point() else None
    if not isinstance(other, Tensor) or other.dtype != x.dtype:
        return None
    if other.shape == x.shape:
        return x.shape
    try:
        return torch.broadcast_shapes(x.shape, other.shape)
    except RuntimeError:
        return None


def _normalised(func: Callable, x: Tensor, args: tuple, kwargs: dict) -> bool:
    """Whether a normalisation's settings fit its input."""
    weight = _argument(args, kwargs, 2, "weight")
    if weight is not None and weight.dtype != x.dtype:
        return False
    if func is F.group_norm:
        groups = _argument(args, kwargs, 1, "num_groups")
        wide = x.dim() > 1 and (weight is None or weight.shape == x.shape[1:2])
        return wide and x.shape[1] % groups == 0
    last = tuple(_argument(args, kwargs, 1, "normalized_shape"))
    return tuple(x.shape[-len(last) :]) == last


def _argument(args: tuple, kwargs: dict, place: int, name: str):
    return args[place] if len(args) > place else kwargs.get(name)


def _is_meta(value) -> bool:
    return isinstance(value, Tensor) and value.is_meta
