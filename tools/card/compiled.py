"""(a) A training step with compiled blocks and checkpointing has the gradients of a plain one."""

from argparse import Namespace

import torch

from tools.benchmark import flux_step
from tools.card.measures import DEVICE, row

SECTION = "a. compile and checkpointing"
PARALLEL = True
# Of the gradients' norm. The base is bfloat16 (2^-9 a rounding): a compiled block fuses, and so
# leaves out, some tens of roundings; recomputing repeats them.
COMPILED, RECOMPUTED = 3e-2, 1e-4


def cells(toy: bool) -> list[dict]:
    """One cell a way of training, a setting of each."""
    if toy:
        return [{"trains": "lora", "checkpoint": True, "compile": False, "losses": True}]
    return [
        {"trains": trains, "checkpoint": True, "compile": True, "losses": losses}
        for losses in (True, False)
        for trains in flux_step.CONFIGS
    ]


def run(cell: dict) -> list[dict]:
    """One row: the largest relative difference of a parameter's gradient, and of the loss."""
    plain = step(cell, checkpoint=False, compile=False)
    other = step(cell, checkpoint=cell["checkpoint"], compile=cell["compile"])
    wanted = torch.cat([grad.flatten() for grad in plain[1]])
    found = torch.cat([grad.flatten() for grad in other[1]])
    error = float((found - wanted).norm() / wanted.norm())
    limit = COMPILED if cell["compile"] else RECOMPUTED
    said = ", ".join(name for name in ("checkpoint", "compile", "losses") if cell[name])
    return [
        row(
            SECTION, f"{cell['trains']}: {said}", error <= limit, f"{limit:g}", gradient=error,
            loss=abs(other[0] - plain[0]) / abs(plain[0]),
        )
    ]  # fmt: skip


def step(cell: dict, checkpoint: bool, compile: bool) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of two steps, the second's."""
    args = Namespace(tiny=True, size=(128, 96), batch=1, no_checkpointing=not checkpoint)
    torch.manual_seed(0)
    model, batch = flux_step.build(cell["trains"], cell["losses"], args, compile=compile)
    trained = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter in trained:  # a LoRA's second half starts at zero: nothing would flow
            parameter.add_(0.02 * torch.randn_like(parameter))
    for number in range(2):
        torch.manual_seed(number)
        model.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16):
            losses = model.loss(batch, step=0)
        total = sum(value for name, value in losses.items() if name.startswith("loss_"))
        total.backward()
    grads = [p.grad.detach().float() for p in trained if p.grad is not None]
    return float(total.detach()), grads
