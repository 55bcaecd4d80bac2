"""How the attention kernels should cut their maps on this GPU: each cut timed by itself."""

import torch

from tools.card.measures import DEVICE, milliseconds
from vtonlab.ops import attention_kernel_pass as kernels
from vtonlab.ops.attention_kernel_pass import Blocks

TRIED = {
    "forward": [
        Blocks(128, 64, 8, 3), Blocks(128, 128, 8, 3), Blocks(128, 64, 4, 3), Blocks(64, 64, 4, 3),
        Blocks(128, 128, 8, 2), Blocks(64, 128, 4, 3), Blocks(128, 64, 8, 4),
    ],
    "backward_query": [
        Blocks(128, 64, 8, 3), Blocks(128, 64, 8, 2), Blocks(64, 64, 4, 2), Blocks(64, 64, 4, 3),
        Blocks(128, 128, 8, 2), Blocks(64, 128, 8, 2), Blocks(64, 32, 4, 3),
    ],
    "backward_key": [
        Blocks(64, 128, 8, 3), Blocks(64, 128, 8, 2), Blocks(64, 64, 4, 2), Blocks(32, 128, 8, 3),
        Blocks(32, 64, 4, 3), Blocks(64, 64, 8, 2), Blocks(32, 128, 4, 3),
    ],
    "head_average": [
        Blocks(128, 128, 8, 2), Blocks(128, 64, 8, 3), Blocks(128, 64, 4, 3), Blocks(64, 64, 4, 3),
        Blocks(128, 128, 8, 3), Blocks(64, 128, 8, 3), Blocks(128, 256, 8, 2),
    ],
}  # fmt: skip
# Warps of Hopper come in twos (see `kernels.TWO_WARPS`).
TRIED_IN_TWOS = [
    Blocks(64, 64, 2, 2), Blocks(64, 64, 2, 3), Blocks(32, 64, 2, 2), Blocks(32, 64, 2, 3),
    Blocks(64, 32, 2, 2), Blocks(32, 32, 2, 2), Blocks(32, 32, 2, 3),
]  # fmt: skip
SHAPES = {128: 24, 64: 10}  # size of a head: heads


def table() -> dict[str, dict[int, Blocks]]:
    """What is tuned here."""
    return kernels.cuts(torch.bfloat16, torch.device(DEVICE))


def variants() -> list[tuple[str, int, tuple, int]]:
    """Every kernel, size, cut, and way to multiply values."""
    return [
        (name, size, tuple(blocks), few)
        for size in SHAPES
        for name in TRIED
        for blocks in (TRIED_IN_TWOS if table() is kernels.TWO_WARPS else TRIED[name])
        for few in ((3,) if name == "head_average" else (3, 0))
    ]


def call(name: str, size: int, tokens: int):
    """A function that launches one kernel once, as the statistics do."""
    torch.manual_seed(0)
    heads = SHAPES[size]
    query, key = (
        torch.randn(1, heads, tokens, size, device=DEVICE, dtype=torch.bfloat16) for _ in range(2)
    )
    values = torch.rand(1, tokens, 2, device=DEVICE)
    asked = kernels._Call(query, key, values, size**-0.5, None)
    if name == "forward":
        return lambda: asked.forward(entropy=True)
    _, logsumexp, entropy = asked.forward(entropy=True)
    if name == "head_average":
        return lambda: asked.head_entropy(logsumexp)
    row, grad = torch.randn_like(logsumexp), torch.randn(*logsumexp.shape, 2, device=DEVICE)
    return lambda: asked.backward(logsumexp, row, entropy, grad, only=name)


def compile_some(some: list[tuple]) -> None:
    """Fill Triton's cache: each variant once on few tokens."""
    for name, size, blocks, few in some:
        table()[name][size], kernels.FEW_VALUES = Blocks(*blocks), few
        try:
            call(name, size, 256)()
        except Exception as error:  # does not fit: the timing says so again
            print(f"{name} D {size} {blocks}: {str(error)[:100]}", flush=True)


def tune(tokens: int = 12288) -> dict:
    """The fastest cut of each kernel and size; all times are printed."""
    best: dict = {name: {} for name in TRIED}
    least: dict = {}
    for name, size, blocks, few in variants():
        usual = table()[name][size]
        table()[name][size], kernels.FEW_VALUES = Blocks(*blocks), few
        try:
            time = milliseconds(call(name, size, tokens), budget=40)
        except Exception as error:
            print(f"{name} D{size} {blocks} few {few}: {str(error)[:80]}", flush=True)
            time = float("inf")
        print(f"{name} D{size} {blocks} few {few}: {time:.3f} ms", flush=True)
        if few and time < least.get((name, size), float("inf")):
            least[name, size], best[name][size] = time, tuple(blocks)
        table()[name][size] = Blocks(*best[name].get(size, usual))
        torch.cuda.empty_cache()
    return best
