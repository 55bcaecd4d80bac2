"""Counts, on the CPU, where a step on a GPU would wait for the device.

Nothing tells a host's tensors from a device's there, so it is followed where tensors come from: of
the host are those made without a ``device``, and what is made of such tensors alone; all others,
parameters first, are the device's. `Waits` notes what reads a device's tensor (``item``,
``nonzero``, an index of booleans, ...), what copies to the device from memory that is not pinned,
and operations on tensors of both, which a GPU refuses.
"""

import sys
import traceback

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

READS = {
    *("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__contains__", "numpy"),
    *("__array__", "cpu", "nonzero", "argwhere", "unique", "_unique2", "unique_consecutive"),
    *("masked_select", "bincount", "equal", "allclose", "__repr__", "__format__"),
}
COPIES = {"to", "copy_", "type_as", "cuda"}
FACTORIES = {
    *("tensor", "as_tensor", "zeros", "ones", "full", "empty", "arange", "linspace", "eye"),
    *("rand", "randn", "randint", "randperm", "from_numpy", "frombuffer"),
}
FROM_LISTS = {"tensor", "as_tensor", "new_tensor"}
NOT_TOGETHER = {"__getitem__", "__setitem__", "index_put_", "index_put"}  # of both: looked at alone


def mark(data) -> None:
    """Tensors of a batch, of matches or flows in it, or of a state are of the host."""
    for leaf in tree_leaves(data):
        if isinstance(leaf, Tensor):
            leaf._of_host = True
        elif hasattr(leaf, "__dict__"):
            mark(list(vars(leaf).values()))


def of_host(tensor: Tensor) -> bool:
    return getattr(tensor, "_of_host", False)


class Waits(TorchFunctionMode):
    """While active, ``found`` lists what would wait: an operation, and where it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.refused: list[str] = []

    def __enter__(self):
        self._from_numpy = torch.from_numpy  # torch asks no mode about it
        torch.from_numpy = lambda array: self._marked(self._from_numpy(array), True)
        return super().__enter__()

    def __exit__(self, *error) -> None:
        torch.from_numpy = self._from_numpy
        super().__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        host = [of_host(tensor) for tensor in tensors]
        result = func(*args, **kwargs)
        if name == "__iter__":
            return iter(self._marked(list(result), host[0]))
        if name == "__get__" or name == "__set__":
            return self._marked(result, bool(host) and all(host))
        if name in READS and not all(host):
            self.found.append(f"{name} {_where()}")
        if name in ("__getitem__", "__setitem__"):
            self._look_at_index(name, args)
        device = kwargs.get("device")
        if name in FROM_LISTS and (device is not None or (tensors and not all(host))):
            self.found.append(f"{name} {_where()}")
        if name in COPIES:
            return self._copied(name, func, args, kwargs, host, result)
        if any(host) and not all(host) and name not in NOT_TOGETHER and not name.startswith("_f"):
            if any(one and tensor.ndim for one, tensor in zip(host, tensors, strict=True)):
                self.refused.append(f"{name} {_where()}")
        made = name in FACTORIES and not tensors and device is None
        return self._marked(result, made or (bool(host) and all(host)))

    def _look_at_index(self, name: str, args) -> None:
        if of_host(args[0]):
            return
        for part in args[1] if isinstance(args[1], tuple) else (args[1],):
            uploaded = isinstance(part, list) or (isinstance(part, Tensor) and of_host(part))
            if uploaded or (isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8)):
                self.found.append(f"{name} {_where()}")

    def _copied(self, name: str, func, args, kwargs, host, result):
        other = args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("device"))
        if isinstance(other, Tensor):
            to_device = not of_host(other) if name != "copy_" else not host[0]
            from_host = host[0] if name != "copy_" else of_host(other)
        else:
            to_device = isinstance(other, (str, torch.device)) or "device" in kwargs
            from_host = host[0]
        if not (from_host and to_device):
            return self._marked(result, host[0] and not to_device)
        pinned = kwargs.get("non_blocking") or any(
            frame.filename.endswith("vtonlab/utils/upload.py") for frame in _frames()
        )
        if not pinned:
            self.found.append(f"{name} {_where()}")
        return result.view_as(result) if result is args[0] else result

    def _marked(self, result, host: bool):
        for leaf in tree_leaves(result) if host else ():
            if isinstance(leaf, Tensor):
                leaf._of_host = True
        return result


def _frames() -> list:
    return traceback.extract_stack(sys._getframe(2), limit=6)


def _where() -> str:
    """The innermost place outside torch and this file."""
    for frame in reversed(traceback.extract_stack(sys._getframe(2), limit=25)):
        if "/torch/" not in frame.filename and frame.filename != __file__:
            return f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno}"
    return "?"
