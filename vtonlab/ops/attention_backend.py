"""Which of several equal ways computes the statistics of attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from vtonlab.ops.attention_kernel_pass import kernels_refusal, kernels_wanted
from vtonlab.ops.attention_precision import statistics_dtype
from vtonlab.utils.compat import fused_attention_refusal

# "kernels": our own, for GPUs, in the dtype of query and key; only where they are asked for.
# "fused": those behind scaled_dot_product_attention, in float32. "chunked": chunks of queries,
# always right. "materialised": the whole map under plain autograd, what they are measured against.
BACKENDS = ("auto", "kernels", "fused", "chunked", "materialised")

_forced: ContextVar[str] = ContextVar("attention_backend", default="auto")


@contextmanager
def attention_backend(name: str) -> Iterator[None]:
    """Force one of `BACKENDS` inside a `with` block, for tests and benchmarks.

    Statistics of the head-averaged map know no fused kernel: "fused" leaves them chunked.

    Raises:
        ValueError: if there is no such backend.
    """
    token = _forced.set(_check(name))
    try:
        yield
    finally:
        _forced.reset(token)


def choose_backend(
    query: Tensor, key: Tensor, backend: str | None = None, values: Tensor | None = None
) -> str:
    """Name of the backend that takes (B, H, Nq, D), (B, H, Nk, D): the forced one, else on a CPU
    the first of "fused" and "chunked" that can, on a GPU "chunked"; before them "kernels" (which
    may refuse `values`) where `kernels_wanted`.

    torch's fused operators have not been compared on a GPU yet, nor have the kernels as they are
    now (docs/gpu_card.md).

    Raises:
        ValueError: if the backend is unknown, or "kernels" or "fused" is forced where it cannot be.
    """
    name = forced_backend(backend)
    if name == "kernels" or (name == "auto" and kernels_wanted()):
        refusal = kernels_refusal(query, key, values)
        if refusal is None:
            return "kernels"
        if name == "kernels":
            raise ValueError(_forced_in_vain(name, refusal))
    if name == "auto" and query.device.type != "cpu":
        return "chunked"
    if name in ("auto", "fused"):
        refusal = fused_attention_refusal(query, key, statistics_dtype(query, key))
        if refusal is None:
            return "fused"
        if name == "fused":
            raise ValueError(_forced_in_vain(name, refusal))
        return "chunked"
    return name


def _forced_in_vain(name: str, refusal: str) -> str:
    return f"Attention backend {name!r} was forced, but {refusal}; use 'auto'."


def forced_backend(backend: str | None = None) -> str:
    """The argument where there is one, else what `attention_backend` set ("auto" outside it)."""
    return _forced.get() if backend is None else _check(backend)


def _check(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"Unknown attention backend {name!r}; choose one of {BACKENDS}.")
    return name
