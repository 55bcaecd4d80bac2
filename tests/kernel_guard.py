"""What Triton's interpreter does not see by itself: reads beyond a tensor, and bfloat16."""

import numpy as np


def spans(arguments) -> list[tuple[int, int]]:
    """First and last byte that each tensor among the arguments may touch, element by element."""
    found = []
    for tensor in arguments:
        if hasattr(tensor, "data_ptr") and tensor.numel():
            sizes = zip(tensor.shape, tensor.stride(), strict=True)
            last = sum((size - 1) * stride for size, stride in sizes)
            start = tensor.data_ptr()
            found.append((start, start + last * tensor.element_size()))
    return found


def interpret(monkeypatch) -> None:
    """Triton's own functions for the interpreter, wherever Triton was imported; and the guard."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    played = {}
    for module in (tl, tl.standard):
        for name, function in list(vars(module).items()):
            if isinstance(function, JITFunction):
                found = played.setdefault(function, InterpretedFunction(function.fn))
                monkeypatch.setattr(module, name, found)
    guard(monkeypatch)


def guard(monkeypatch) -> None:
    """Every pointer that a kernel reads or writes must lie in a tensor that it was given."""
    import triton.language as tl
    from triton.runtime import interpreter

    builder = type(interpreter.interpreter_builder)
    allowed: list[tuple[int, int]] = []
    launch = interpreter.GridExecutor.__call__

    def launched(self, *arguments, **settings):
        allowed[:] = spans(arguments)
        return launch(self, *arguments, **settings)

    def checked(name):
        inner = getattr(builder, name)

        def run(self, pointers, *rest):
            mask = rest[0] if "load" in name else rest[1]
            places = pointers.data[np.broadcast_to(mask.data.astype(bool), pointers.data.shape)]
            inside = np.zeros(places.shape, bool)
            for first, last in allowed:
                inside |= (places >= np.uint64(first)) & (places <= np.uint64(last))
            assert inside.all(), f"{name}: {(~inside).sum()} places outside of every tensor"
            return inner(self, pointers, *rest)

        return run

    def numbers(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle.data
        return (handle.data.astype(np.uint32) << 16).view(np.float32)

    def dot(self, left, right, found, *_):
        product = np.matmul(numbers(left), numbers(right), dtype=found.data.dtype)
        return interpreter.TensorHandle(product + found.data, found.dtype.scalar)

    monkeypatch.setattr(interpreter.GridExecutor, "__call__", launched)
    monkeypatch.setattr(builder, "create_dot", dot)
    for name in ("create_masked_load", "create_masked_store"):
        monkeypatch.setattr(builder, name, checked(name))
