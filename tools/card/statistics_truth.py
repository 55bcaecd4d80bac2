"""(a) Every statistic of an attention record on the device, by the kernels and some by torch alone,
against the whole map in float64."""

import torch
from torch import Tensor

from tools.card.measures import DEVICE, distance, kernels_allowed, row
from vtonlab.ops.attention_backend import attention_backend
from vtonlab.ops.attention_mask import key_bias
from vtonlab.structures import AttentionRecord
from vtonlab.structures.correspondences import cell_centres

SECTION = "a. correctness"
PARALLEL = True
# Values of a statistic are float32 whatever the operands; gradients are of the operands' dtype.
FLOAT32_VALUES, FLOAT32_GRADIENTS = 1e-5, 5e-5
WORSE_THAN_MATERIALISED = 2.0


def cells(toy: bool) -> list[dict]:
    """One cell a dtype and a head's size."""
    sizes = {"float32": [64, 128], "bfloat16": [40, 64, 128], "float16": [128]}
    found = [
        {"dtype": dtype, "size": size, "toy": toy}
        for dtype in sizes
        for size in ([24] if toy else sizes[dtype])
    ]
    if not toy:
        some = [{"dtype": "float32", "size": 64}, {"dtype": "bfloat16", "size": 128}]
        some = [cell | {"toy": False} for cell in some]
        found += [cell | {"backend": name} for name in ("fused", "chunked") for cell in some]
        found += [{"dtype": "bfloat16", "size": 16, "toy": False}]
    return found


@kernels_allowed()
def run(cell: dict) -> list[dict]:
    """Rows: each mask and each statistic, its error and that of the map materialised in dtype."""
    rows = []
    for mask in ("none", "hidden", "graded"):
        record, others = build(cell, mask)
        truth = whole_map(record, torch.float64, others)
        plain = whole_map(record, record.query.dtype, others)
        with attention_backend(cell.get("backend", "auto")):
            found = questions(record, others)
        for name, answer in found.items():
            rows.append(judge(cell, mask, name, record, answer, truth[name], plain[name]))
    return rows


def build(cell: dict, mask: str) -> tuple[AttentionRecord, dict]:
    """A record of sharp and hazy rows, values, and places."""
    generator = torch.Generator().manual_seed(cell["size"] + len(mask))
    dtype = getattr(torch, cell["dtype"])
    grid, heads = ((8, 6), 3) if cell["toy"] else ((20, 16), 4)
    if mask != "none":
        grid = (grid[0] + 1, grid[1] + 1)  # keys that fill no block
    tokens = grid[0] * grid[1]

    def tensor(count):
        shape = (2, count, heads, cell["size"])
        drawn = torch.randn(shape, generator=generator) * 1.4
        return drawn.to(DEVICE, dtype).transpose(1, 2).detach().requires_grad_()

    hides = {
        "none": None,
        "hidden": torch.rand(2, tokens, generator=generator).to(DEVICE) > 0.3,
        "graded": torch.randn(2, tokens, generator=generator).to(DEVICE),
    }[mask]
    record = AttentionRecord(
        name="layer", query=tensor(tokens), key=tensor(tokens), query_grid=grid, key_grid=grid,
        scale=cell["size"] ** -0.5, context_key=tensor(50), key_mask=hides,
    )  # fmt: skip
    seen = torch.arange(tokens) if mask != "hidden" else hides.cpu().all(0).nonzero()[:, 0]
    count = 64
    places = (
        torch.randint(2, (count,), generator=generator),
        torch.randint(tokens, (count,), generator=generator),
        seen[torch.randint(len(seen), (count,), generator=generator)],
    )
    points = cell_centres(grid).to(DEVICE)
    return record, {"points": points, "places": tuple(place.to(DEVICE) for place in places)}


def questions(record: AttentionRecord, others: dict) -> dict[str, Tensor]:
    """What the record answers."""
    average = record.mean_map_moments(others["points"], entropy=True)
    return {
        "mean": record.mean_of(others["points"]),
        "logsumexp": record.logsumexp(),
        "entropy": record.entropy(),
        "log_prob": record.log_prob(*others["places"]),
        "garment_mass": record.garment_mass(),
        "head-mean mean": average.mean,
        "head-mean entropy": average.entropy,
    }


def whole_map(record: AttentionRecord, dtype: torch.dtype, others: dict) -> dict[str, Tensor]:
    """The same by a map that is written out in `dtype`, under plain autograd."""
    query, key, context = (t.to(dtype) for t in (record.query, record.key, record.context_key))
    score = (query @ key.mT) * record.scale
    bias = key_bias(record.key_mask, torch.float64)
    if bias is not None:
        bias = bias.clamp_min(-6e4) if dtype == torch.float16 else bias
        score = score + bias.to(dtype)[:, None, None]
    prob, logs = score.softmax(-1), score.log_softmax(-1)
    batch, rows, places = others["places"]
    points = others["points"].to(dtype)
    other = ((query @ context.mT) * record.scale).logsumexp(-1)
    average = prob.mean(1)
    return {
        "mean": prob @ points,
        "logsumexp": score.logsumexp(-1),
        "entropy": -(prob * _log(prob)).sum(-1),
        "log_prob": logs[batch, :, rows, places],
        "garment_mass": torch.sigmoid(score.logsumexp(-1) - other),
        "head-mean mean": average @ points,
        "head-mean entropy": -(average * _log(average)).sum(-1),
    }


def judge(cell, mask, name, record, answer, truth, plain) -> dict:
    """The row of one statistic."""
    wanted, upstream = gradients(record, truth, None)
    found, _ = gradients(record, answer, upstream)
    usual, _ = gradients(record, plain, upstream)
    errors = {
        "value": distance(answer, truth),
        "gradient": max(map(distance, found, wanted)),
        "value, map": distance(plain, truth),
        "gradient, map": max(map(distance, usual, wanted)),
    }
    if cell["dtype"] == "float32":
        ok = errors["value"] <= FLOAT32_VALUES and errors["gradient"] <= FLOAT32_GRADIENTS
        target = f"{FLOAT32_VALUES:g}, {FLOAT32_GRADIENTS:g}"
    else:
        pairs = (("value", "value, map"), ("gradient", "gradient, map"))
        ok = all(
            errors[one] <= max(WORSE_THAN_MATERIALISED * errors[two], FLOAT32_VALUES)
            for one, two in pairs
        )
        target = f"{WORSE_THAN_MATERIALISED:g} x map"
    name = f"{name}, {cell['dtype']}, D {cell['size']}, mask {mask}"
    name += f", {cell['backend']}" if "backend" in cell else ""
    return row(SECTION, name, ok, target, **errors)


def gradients(record, answer, upstream):
    """Gradients of query and key for one drawn upstream gradient, and that."""
    if upstream is None:
        generator = torch.Generator().manual_seed(answer.numel())
        upstream = torch.randn(answer.shape, generator=generator, dtype=torch.float64).to(DEVICE)
    scalar = (answer * upstream.to(answer.dtype)).sum()
    grads = torch.autograd.grad(scalar, (record.query, record.key), retain_graph=True)
    return [grad.double() for grad in grads], upstream


def _log(prob: Tensor) -> Tensor:
    return prob.clamp_min(torch.finfo(prob.dtype).tiny).log()
