"""Peak of the memory that operations ask for, counted tensor by tensor; works on fake tensors."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """While active, ``peak`` is the largest sum of bytes of storages made inside and still alive.

    Storages that existed before (weights) do not count, nor does what an operation needs only
    inside its kernel. (``torch.distributed._tools.mem_tracker`` hooks every parameter and so
    refuses frozen ones.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.finalize] = {}

    def ignore(self, tensors) -> None:
        """Never count the storages of ``tensors``, such as weights."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._known[storage._cdata] = weakref.finalize(storage, self._forget, storage._cdata, 0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known[key] = weakref.finalize(storage, self._forget, key, storage.nbytes())
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int, size: int) -> None:
        self.now -= size
        self._known.pop(key, None)
