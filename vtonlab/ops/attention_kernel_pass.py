"""Statistics of attention by the Triton kernels of `vtonlab.ops.attention_kernels`, with gradients.

Queries and keys stay as the softmax saw them, in bfloat16 say: nothing is raised or padded before
the kernels. Shape letters as there; C values, W their columns inside the kernels.
"""

import math
import os
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vtonlab.utils.compat import warp_groups_are_built_wrong

LN_2 = math.log(2.0)
LOG2_E = 1.0 / LN_2
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
LARGEST_SIZE = 256  # of a head: beyond, a block of queries does not fit beside its gradient
MOST_VALUES = 16
# Up to so many values are multiplied in float32 beside the matrix units, more by them in parts.
FEW_VALUES = 3
# Elements of the head-averaged map that a backward pass holds at once: 128 MiB in half precision,
# so many rows that the blocks of a few heads still fill a GPU at 24 576 keys.
MAP_ELEMENTS = 1 << 26


class Blocks(NamedTuple):
    """How a kernel cuts its map: queries and keys of a block, warps, blocks loaded ahead."""

    queries: int
    keys: int
    warps: int
    stages: int


# By kernel, then by the head's padded size. `..._average` is a backward pass through the map
# averaged over heads.
HALF = {
    "forward": {64: Blocks(64, 128, 4, 3), 128: Blocks(64, 128, 4, 3), 256: Blocks(64, 32, 8, 2)},
    "backward_query": {
        64: Blocks(64, 64, 4, 2), 128: Blocks(64, 64, 4, 2), 256: Blocks(64, 32, 8, 2),
    },
    "backward_key": {
        64: Blocks(32, 128, 4, 3), 128: Blocks(32, 128, 4, 3), 256: Blocks(32, 64, 8, 2),
    },
    "backward_query_average": {
        64: Blocks(64, 64, 4, 2), 128: Blocks(64, 32, 4, 3), 256: Blocks(64, 32, 8, 2),
    },
    "head_average": {
        64: Blocks(128, 64, 4, 3), 128: Blocks(128, 128, 8, 3), 256: Blocks(64, 64, 8, 2),
    },
}  # fmt: skip
FULL = {
    kernel: {64: Blocks(64, 64, 8, 2), 128: Blocks(64, 32, 8, 2), 256: Blocks(32, 32, 8, 1)}
    for kernel in HALF
}
# For devices where warp groups are built wrong (`vtonlab.utils.compat`, Triton on Hopper).
TWO_WARPS = {
    "forward": {64: Blocks(64, 64, 2, 3), 128: Blocks(64, 64, 2, 3), 256: Blocks(32, 32, 2, 2)},
    "backward_query": {
        64: Blocks(32, 64, 2, 2), 128: Blocks(32, 32, 2, 3), 256: Blocks(32, 32, 2, 1),
    },
    "backward_key": {
        64: Blocks(64, 32, 2, 2), 128: Blocks(32, 32, 2, 2), 256: Blocks(32, 32, 2, 1),
    },
    "backward_query_average": {
        64: Blocks(32, 32, 2, 3), 128: Blocks(32, 32, 2, 3), 256: Blocks(32, 32, 2, 1),
    },
    "head_average": {
        64: Blocks(32, 64, 2, 3), 128: Blocks(32, 64, 2, 3), 256: Blocks(32, 32, 2, 2),
    },
}  # fmt: skip


def cuts(dtype: torch.dtype, device: torch.device) -> dict[str, dict[int, Blocks]]:
    """How kernels cut their maps on a device, by kernel and padded size of a head."""
    if warp_groups_are_built_wrong(device):
        return TWO_WARPS
    return FULL if dtype == torch.float32 else HALF


def kernels_wanted() -> bool:
    """Whether `VTONLAB_ATTENTION_KERNELS=1` lets the backend "auto" take the kernels."""
    return os.environ.get("VTONLAB_ATTENTION_KERNELS") == "1"


def kernels_refusal(query: Tensor, key: Tensor, values: Tensor | None = None) -> str | None:
    """Why the kernels cannot take (B, H, Nq, D), (B, H, Nk, D) and values; None where they can."""
    if find_spec("triton") is None:
        return "there is no Triton"
    if not _interpreted():
        if query.device.type != "cuda" or torch.version.hip is not None:
            return f"there are no kernels for device {query.device.type!r}"
        if torch.cuda.get_device_capability(query.device) < (8, 0):
            return "the GPU is older than Ampere"
    if query.dtype not in DTYPES or query.dtype != key.dtype:
        return f"the kernels do not take {query.dtype} with {key.dtype}"
    if query.numel() == 0 or key.numel() == 0:
        return "the kernels do not take empty tensors"
    if query.shape[-1] > LARGEST_SIZE:
        return f"a head of {query.shape[-1]} is wider than {LARGEST_SIZE}"
    if values is not None and values.shape[-1] > MOST_VALUES:
        return f"{values.shape[-1]} values are more than {MOST_VALUES}"
    if values is not None and values.requires_grad and torch.is_grad_enabled():
        return "the kernels know no gradient of values"
    return None


def kernel_pass(
    query: Tensor,
    key: Tensor,
    values: Tensor | None,
    scale: float,
    entropy: bool,
    bias: Tensor | None,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Mean (B, H, Nq, C), logsumexp and entropy (B, H, Nq) in float32, once differentiable in
    query and key.

    Args:
        values: (B, Nk, C), or `None`.
        bias: (B, Nk), added to scores, or `None`.
    """
    return _KernelPass.apply(query, key, values, scale, entropy, bias)


def kernel_head_mean(
    query: Tensor,
    key: Tensor,
    values: Tensor | None,
    scale: float,
    entropy: bool,
    bias: Tensor | None,
) -> tuple[Tensor | None, Tensor | None]:
    """Mean (B, Nq, C) under and entropy (B, Nq) of the map averaged over heads, likewise."""
    return _KernelHeadMean.apply(query, key, values, scale, entropy, bias)


class _KernelPass(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, values, scale, entropy, bias):
        ctx.set_materialize_grads(False)
        call = _Call(query, key, values, scale, bias)
        mean, logsumexp, found = call.forward(entropy)
        ctx.call = call
        call.keep(mean, logsumexp, found)
        return mean, logsumexp, found

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean, grad_logsumexp, grad_entropy):
        call = ctx.call
        mean, logsumexp, entropy = call.kept()
        row = torch.zeros_like(logsumexp)
        slope = torch.zeros_like(logsumexp)
        if grad_mean is not None:
            row -= (grad_mean * mean).sum(-1)
        if grad_entropy is not None:
            row -= grad_entropy * entropy
            slope = grad_entropy * LN_2
        if grad_logsumexp is not None:
            row += grad_logsumexp
        grads = call.backward(logsumexp, row, slope.contiguous(), grad_mean)
        return *grads, None, None, None, None


class _KernelHeadMean(torch.autograd.Function):
    """With m the averaged map and H its entropy, the gradient of head h's score of query i and key
    j is `p_hij (g . (value_j - mean_hi) - g_H (log m_ij - tilt_hi)) / heads`, where tilt_hi, the
    mean of log m_i under p_hi, is found on the way. `log m` is made again in the backward pass, a
    part of its rows at a time.
    """

    @staticmethod
    def forward(ctx, query, key, values, scale, entropy, bias):
        ctx.set_materialize_grads(False)
        call = _Call(query, key, values, scale, bias)
        mean, logsumexp, _ = call.forward(entropy=False)
        found = call.head_entropy(logsumexp) if entropy else None
        ctx.call = call
        call.keep(mean, logsumexp, found)
        return None if mean is None else mean.mean(1), found

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean, grad_entropy):
        call = ctx.call
        mean, logsumexp, entropy = call.kept()
        row, slope = torch.zeros_like(logsumexp), torch.zeros_like(logsumexp)
        heads = logsumexp.shape[1]
        if grad_mean is not None:
            grad_mean = (grad_mean / heads)[:, None].expand_as(mean)
            row -= (grad_mean * mean).sum(-1)
        if grad_entropy is None:
            grads = call.backward(logsumexp, row, slope, grad_mean)
        else:
            share = (grad_entropy / heads)[:, None]
            slope += share
            grads = call.backward(logsumexp, row, slope, grad_mean, centre=entropy)
        return *grads, None, None, None, None


class _Call:
    """Operands of one map, and the launches over it."""

    def __init__(self, query, key, values, scale, bias) -> None:
        self.query, self.key = (_rows(t.detach()) for t in (query, key))
        self.scale = scale
        self.bias = None if bias is None else bias.detach().float().contiguous()
        self.channels = 0 if values is None else values.shape[-1]
        self.few = self.channels if self.channels <= FEW_VALUES else 0
        self.columns = 0 if self.few == self.channels else _power_of_two(max(16, 3 * self.channels))
        self.value, self.value_stride = query, 0  # never read without values
        if values is not None:
            values = values.detach()[: 1 if values.stride(0) == 0 else None].float()
            self.value = values.contiguous() if self.few else _split(values, self.columns)
            self.value_stride = 0 if len(self.value) == 1 else self.value.stride(0)

    def keep(self, *answers: Tensor | None) -> None:
        """Keep answers for the backward pass, without their graph, for as often as it comes."""
        self._answers = [None if t is None else t.detach() for t in answers]
        self._versions = self._now()

    def kept(self) -> list[Tensor | None]:
        """What `keep` got; RuntimeError where it or an operand has been changed since."""
        if self._now() != self._versions:
            raise RuntimeError("A query, key or value of an attention record was changed in place.")
        return self._answers

    def _now(self) -> list[int | None]:
        tensors = [self.query, self.key, *self._answers]
        return [None if t is None or t.is_inference() else t._version for t in tensors]

    def forward(self, entropy: bool):
        """Mean (B, H, Nq, C) or None, logsumexp and entropy (B, H, Nq) or None."""
        from vtonlab.ops import attention_kernels

        batch, heads, queries, _ = self.query.shape
        new = {"dtype": torch.float32, "device": self.query.device}
        logsumexp = torch.empty(batch, heads, queries, **new)
        found = torch.empty_like(logsumexp) if entropy else None
        sums = None
        if self.channels:
            sums = torch.empty(batch, heads, queries, self.columns or self.few, **new)
        blocks = self._blocks("forward")
        grid = _parts(queries, blocks.queries), batch * heads
        unused = logsumexp
        attention_kernels.forward[grid](
            self.query, self.key, self.value, self._bias(),
            unused if sums is None else sums, logsumexp, unused if found is None else found,
            *self._strides(), self.value_stride, *self._sizes(), self.scale * LOG2_E,
            **self._constants(), COLUMNS=self.columns, FEW=self.few, ENTROPY=entropy,
            EVEN=self.key.shape[2] % blocks.keys == 0, **_launch(blocks),
        )  # fmt: skip
        return None if sums is None else self._joined(sums), logsumexp, found

    def backward(self, logsumexp, row, slope, grad_mean, centre=None, only=None):
        """Gradients of query and key from `row` and `slope` of each query (see the kernels).

        With `centre` (B, Nq) the slope is that of the head-averaged map's logarithm plus centre.
        `only` launches one of the two kernels, to time it.
        """
        from vtonlab.ops import attention_kernels

        batch, heads, queries = self.query.shape[:3]
        keys = self.key.shape[2]
        columns, few = (0, 0) if grad_mean is None else (self.columns, self.few)
        gradient = row if grad_mean is None else self._spread(grad_mean)
        grad_query = torch.empty(self.query.shape, dtype=self.query.dtype, device=row.device)
        piece = queries
        if centre is not None:
            piece = max(128, MAP_ELEMENTS // (batch * keys) // 128 * 128)
        adds = piece < queries
        like = torch.zeros if adds else torch.empty
        grad_key = like(
            self.key.shape, dtype=torch.float32 if adds else self.key.dtype, device=row.device
        )
        common = {**self._constants(), "COLUMNS": columns, "FEW": few}
        common["AVERAGE"] = centre is not None
        suffix = "" if centre is None else "_average"
        one, two = self._blocks("backward_query" + suffix), self._blocks("backward_key")

        def grid(blocks: int) -> tuple[int, int]:
            return (blocks, batch * heads) if centre is None else (batch * heads, blocks)

        for start in range(0, queries, piece):
            stop = min(start + piece, queries)
            average = row if centre is None else self._average(logsumexp, centre, start, stop)
            operands = (
                self.query, self.key, self.value, self._bias(), logsumexp, row, slope, gradient,
                average,
            )  # fmt: skip
            settings = (
                *self._strides(), self.value_stride, *self._sizes(), start, stop,
                self.scale * LOG2_E, self.scale,
            )  # fmt: skip
            if only != "backward_key":
                attention_kernels.backward_query[grid(_parts(stop - start, one.queries))](
                    *operands, grad_query, *settings, **common, EVEN=keys % one.keys == 0,
                    **_launch(one),
                )  # fmt: skip
            if only != "backward_query":
                attention_kernels.backward_key[grid(_parts(keys, two.keys))](
                    *operands, grad_key, *settings, **common, ADD=adds,
                    EVEN=(stop - start) % two.queries == 0, **_launch(two),
                )  # fmt: skip
        return grad_query, grad_key.to(self.key.dtype)

    def head_entropy(self, logsumexp):
        """Entropy (B, Nq) of the head-averaged map."""
        batch, _, queries, _ = self.query.shape
        blocks = self._blocks("head_average")
        rows = _parts(queries, blocks.queries) * batch
        splits = max(1, min(_parts(self.key.shape[2], blocks.keys), 1024 // rows))
        entropy = logsumexp.new_empty(batch, splits, queries)
        self._head_average(logsumexp, entropy, entropy, entropy, 0, queries, splits)
        return entropy.sum(1).clamp_min_(0.0)

    def _average(self, logsumexp, centre, start: int, stop: int):
        """Rows start to stop of the head-averaged map's logarithm plus centre, (B, rows, Nk)."""
        exact = self.query.dtype == torch.float32
        average = torch.empty(
            len(self.query), stop - start, self.key.shape[2],
            dtype=torch.float32 if exact else torch.float16, device=logsumexp.device,
        )  # fmt: skip
        splits = _parts(self.key.shape[2], self._blocks("head_average").keys)
        centre = centre.contiguous()
        self._head_average(logsumexp, centre, average, logsumexp, start, stop, splits, write=True)
        return average

    def _head_average(self, logsumexp, centre, average, entropy, start, stop, splits, write=False):
        from vtonlab.ops import attention_kernels

        blocks = self._blocks("head_average")
        attention_kernels.head_average[
            _parts(stop - start, blocks.queries), splits, len(self.query)
        ](
            self.query, self.key, self._bias(), logsumexp, centre, average, entropy,
            *self._strides(), *self._sizes(), start, stop, splits, self.scale * LOG2_E,
            **self._constants(), WRITE=write, **_launch(blocks),
        )  # fmt: skip

    def _blocks(self, kernel: str) -> Blocks:
        table = cuts(self.query.dtype, self.query.device)
        return table[kernel][max(64, _power_of_two(self.query.shape[-1]))]

    def _constants(self) -> dict:
        size = self.query.shape[-1]
        exact = self.query.dtype == torch.float32
        return {
            "SIZE": size,
            "WIDE": max(16, _power_of_two(size)),
            "HAS_BIAS": self.bias is not None,
            "PRECISION": "tf32x3" if exact else "tf32",
        }

    def _strides(self) -> tuple[int, ...]:
        return *self.query.stride()[:3], *self.key.stride()[:3]

    def _sizes(self) -> tuple[int, ...]:
        return *self.query.shape[1:3], self.key.shape[2]

    def _bias(self):
        return self.query if self.bias is None else self.bias

    def _joined(self, sums):
        """(..., W) sums over the parts of values as means (..., C), smallest parts first."""
        if self.few:
            return sums
        first, second, third = sums[..., : 3 * self.channels].split(self.channels, -1)
        return third + second + first

    def _spread(self, grad_mean):
        """(B, H, Nq, W): the gradient of the mean, once for each part of the values."""
        if self.few:
            return grad_mean.float().contiguous()
        grad = torch.cat([grad_mean] * 3, -1)
        return F.pad(grad, (0, self.columns - grad.shape[-1])).contiguous()


def _split(values: Tensor, columns: int) -> Tensor:
    """(B or 1, Nk, W) bfloat16: three parts whose sum is the float32 values, then zeros."""
    rest, parts = values, []
    for _ in range(3):
        parts.append(rest.bfloat16())
        rest = rest - parts[-1].float()
    return F.pad(torch.cat(parts, -1), (0, columns - 3 * values.shape[-1])).contiguous()


def _rows(tensor: Tensor) -> Tensor:
    """The tensor with its channels side by side in memory."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _launch(blocks: Blocks) -> dict:
    return {
        "BLOCK_Q": blocks.queries,
        "BLOCK_K": blocks.keys,
        "num_warps": blocks.warps,
        "num_stages": blocks.stages,
    }


def _parts(whole: int, part: int) -> int:
    return -(-whole // part)


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


@cache
def _interpreted() -> bool:
    """Whether Triton plays its kernels on the CPU, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"
