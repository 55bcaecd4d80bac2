"""(a) Every attention loss on the device, against the same loss in float64 on the CPU."""

import torch

from tools.benchmark.attention_losses import CASES, make_batch, question_of
from tools.card.measures import DEVICE, distance, kernels_allowed, row
from vtonlab.structures import AttentionRecord

SECTION = "a. correctness"
PARALLEL = True
# Gradients reach this maximum, as a GradScaler sees to it: float16 ends at 6e-8, and the gradient
# of a mean over hundreds of queries lies there.
LARGEST = 64.0
# Relative: statistics are float32 (depth: a few hundred sums); gradients end in the dtype, after
# one rounding of the score's gradient and one of the result.
LIMITS = {"float32": (2e-5, 1e-4), "bfloat16": (2e-5, 8e-3), "float16": (2e-5, 1e-3)}


def cells(toy: bool) -> list[dict]:
    """One cell a dtype."""
    return [{"dtype": dtype, "toy": toy} for dtype in LIMITS]


@kernels_allowed()
def run(cell: dict) -> list[dict]:
    """A row a loss."""
    grid, heads, size = ((8, 6), 2, 16) if cell["toy"] else ((24, 18), 6, 64)
    dtype, tokens = getattr(torch, cell["dtype"]), grid[0] * grid[1]
    torch.manual_seed(0)
    operands = [1.4 * torch.randn(1, heads, tokens, size) for _ in range(2)]
    operands = [operand.to(dtype) for operand in operands]
    rows = []
    for name in CASES:
        answers = []
        for device, kind in (("cpu", torch.float64), (DEVICE, dtype)):
            torch.manual_seed(1)
            batch = on_device(make_batch(grid, "cpu"), device)
            query, key = (t.to(device, kind).requires_grad_() for t in operands)
            record = AttentionRecord(
                name="layer", query=query, key=key, query_grid=grid, key_grid=grid,
                scale=size**-0.5,
            )  # fmt: skip
            value = question_of(name, "record")(record, batch)
            if not answers:
                usual = torch.autograd.grad(value, (query, key), retain_graph=True)
                factor = LARGEST / max(float(grad.abs().max()) for grad in usual)
            answers.append((value, *torch.autograd.grad(value * factor, (query, key))))
        wanted, found = answers
        errors = [distance(f, w.detach()) for f, w in zip(found, wanted, strict=True)]
        limits = LIMITS[cell["dtype"]]
        ok = errors[0] <= limits[0] and max(errors[1:]) <= limits[1]
        measured = {"value": errors[0], "gradient": max(errors[1:])}
        target = f"{limits[0]:g}, {limits[1]:g}"
        rows.append(row(SECTION, f"loss {name}, {cell['dtype']}", ok, target, **measured))
    return rows


def on_device(batch: dict, device: str) -> dict:
    """The batch with its tensors on a device."""
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
