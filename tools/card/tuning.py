"""How the attention kernels should cut their maps on this GPU: each cut timed by itself."""

import time

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
SHAPES = {128: 24, 64: 10}  # size of a head: heads


def variants() -> list[tuple[str, int, tuple]]:
    """Every kernel, size and cut."""
    return [(name, size, tuple(b)) for size in SHAPES for name in TRIED for b in TRIED[name]]


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
        return lambda: asked.head_entropy(logsumexp, True)
    row, grad = torch.randn_like(logsumexp), torch.randn(*logsumexp.shape, 2, device=DEVICE)
    return lambda: asked.backward(logsumexp, row, entropy, grad, only=name)


def compile_some(some: list[tuple]) -> None:
    """Fill Triton's cache: each variant once on few tokens."""
    for name, size, blocks in some:
        kernels.HALF[name][size] = Blocks(*blocks)
        try:
            call(name, size, 256)()
        except Exception as error:  # does not fit: the timing says so again
            print(f"{name} D {size} {blocks}: {str(error)[:100]}", flush=True)


def tune(tokens: int = 12288) -> tuple[dict, list[dict]]:
    """The fastest cut of each kernel and size, and all times."""
    best, rows = {}, []
    for name in TRIED:
        best[name] = {}
        for size in SHAPES:
            known = kernels.HALF[name][size]
            found = []
            launch = call(name, size, tokens)
            for blocks in TRIED[name]:
                kernels.HALF[name][size] = blocks
                begun = time.time()
                try:
                    found.append((milliseconds(launch, budget=40), tuple(blocks)))
                    error = None
                except Exception as failed:
                    error = str(failed)[:80]
                rows.append(
                    {"kernel": name, "size": size, "blocks": blocks, "error": error,
                     "ms": None if error else found[-1][0], "s": time.time() - begun}
                )  # fmt: skip
            best[name][size] = min(found)[1] if found else tuple(known)
            kernels.HALF[name][size] = known if not found else Blocks(*best[name][size])
    return best, rows
