"""(b) Time and memory of every statistic, as a ratio to one fused attention of the same shape."""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tools.card.measures import DEVICE, kernels_allowed, milliseconds, peak_megabytes, row
from vtonlab.structures import AttentionRecord
from vtonlab.structures.correspondences import cell_centres

SECTION = "b. cost"
PARALLEL = False
GRIDS = {48: (8, 6), 3072: (64, 48), 12288: (128, 96), 24576: (128, 192)}
BUDGETS = {"mean": 1.25, "log_prob": 1.25, "mean + log_prob": 1.25, "entropy": 1.5,
           "mean + entropy": 1.5, "head-mean entropy": 1.5}  # fmt: skip
JUDGED = 12288  # tokens; the others show the trend
FUSED = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


def cells(toy: bool) -> list[dict]:
    """One cell a head's size."""
    if toy:
        return [{"size": 16, "heads": 2, "tokens": [48], "dtype": "float32"}]
    tokens = [3072, 12288, 24576]
    return [
        {"size": size, "heads": heads, "tokens": tokens, "dtype": "bfloat16"}
        for size, heads in ((128, 24), (64, 10))
    ]


@kernels_allowed()
def run(cell: dict) -> list[dict]:
    """Rows: each number of tokens and each statistic."""
    if cell.get("blocks"):
        use_blocks(cell["blocks"])
    rows = []
    for tokens in cell["tokens"]:
        rows += measure(cell, tokens)
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
    return rows


def use_blocks(found: dict) -> None:
    """Cut maps as a tuning run found best."""
    from vtonlab.ops import attention_kernel_pass as kernels

    table = kernels.cuts(torch.bfloat16, torch.device(DEVICE))
    for name, sizes in found.items():
        for size, blocks in sizes.items():
            table[name][int(size)] = kernels.Blocks(*blocks)


def measure(cell: dict, tokens: int) -> list[dict]:
    """Rows of one shape."""
    where = f"D {cell['size']}, H {cell['heads']}, {tokens} tokens"
    query, key = operands(cell, tokens)
    fused = fused_times(query, key)
    rows = [
        row(SECTION, f"{name} attention, {where}", None, "", ms=ms, mb=mb)
        for name, (ms, mb) in fused.items()
    ]
    ask = statistics(cell, tokens, query, key)
    for name, question in ask.items():
        try:
            step = backward_of(question, query, key)
            ms, mb = milliseconds(step), peak_megabytes(step)
        except (RuntimeError, ValueError) as error:
            rows.append(row(SECTION, f"{name}, {where}", False, "", error=str(error)[:200]))
            continue
        ratios = {f"x {kind}": ms / time for kind, (time, _) in fused.items()}
        over = {f"mb x {kind}": mb / used for kind, (_, used) in fused.items() if used}
        judged = tokens == JUDGED and name in BUDGETS
        against = ratios.get("x flash", max(ratios.values()))
        ok = against <= BUDGETS[name] if judged else None
        target = f"{BUDGETS[name]:g} x flash" if judged else ""
        rows.append(row(SECTION, f"{name}, {where}", ok, target, ms=ms, mb=mb, **ratios, **over))
    return rows


def operands(cell: dict, tokens: int) -> list[torch.Tensor]:
    """Queries and keys, drawn."""
    torch.manual_seed(0)
    shape, dtype = (1, cell["heads"], tokens, cell["size"]), getattr(torch, cell["dtype"])
    return [torch.randn(shape, device=DEVICE, dtype=dtype).requires_grad_() for _ in range(2)]


def fused_times(query, key) -> dict[str, tuple[float, float]]:
    """Milliseconds and peak megabytes of one fused attention, forward and backward, by kernel."""
    value = torch.randn_like(key).requires_grad_()
    upstream = torch.randn_like(query)

    def attend() -> None:
        output = F.scaled_dot_product_attention(query, key, value)
        torch.autograd.grad(output, (query, key, value), upstream)

    if DEVICE != "cuda":
        return {"fused": (milliseconds(attend), 0.0)}
    found = {}
    for name, backend in FUSED.items():
        with sdpa_kernel(backend):
            found[name] = milliseconds(attend), peak_megabytes(attend)
    return found


def statistics(cell: dict, tokens: int, query, key) -> dict:
    """Name -> function that gives answers to differentiate."""
    grid = GRIDS[tokens]
    points = cell_centres(grid).to(DEVICE)
    places = torch.arange(tokens, device=DEVICE)
    at = torch.zeros_like(places), places, places.flip(0)

    def record() -> AttentionRecord:
        return AttentionRecord(
            name="layer", query=query, key=key, query_grid=grid, key_grid=grid,
            scale=cell["size"] ** -0.5,
        )  # fmt: skip

    def together(*names):
        def ask():
            kept = record()
            return [ASKED[name](kept, points, at) for name in names]

        return ask

    return {
        "mean": together("mean"),
        "log_prob": together("log_prob"),
        "mean + log_prob": together("mean", "log_prob"),
        "entropy": together("entropy"),
        "mean + entropy": together("mean", "entropy"),
        "head-mean entropy": together("head-mean entropy"),
    }


ASKED = {
    "mean": lambda record, points, at: record.mean_of(points),
    "log_prob": lambda record, points, at: record.log_prob(*at),
    "entropy": lambda record, points, at: record.entropy(),
    "head-mean entropy": lambda record, points, at: record.mean_map_entropy(),
}


def backward_of(question, query, key):
    """A step: ask, and take the gradients for a drawn upstream."""
    upstream = [torch.randn_like(answer) for answer in question()]

    def step() -> None:
        torch.autograd.grad(question(), (query, key), upstream)

    return step
