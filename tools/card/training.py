"""(c, d) Training steps at their real sizes with random weights: time, use, memory, waits."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from tools.benchmark import flux_step
from tools.benchmark.training_step import noise_batch
from tools.card.measures import DEVICE, kernels_allowed, milliseconds, row

SECTION = "c. training steps"
PARALLEL = False
PEAK_TFLOPS = 989.0  # H100 and H200, dense bfloat16
WAITS = 3  # of the host for the device, in one step
ESTIMATE = 0.15  # how far the memory estimate may be off, as in its tests
WAYS = ("plain", "supervised", "supervised, kernels")
# Name -> config; most milliseconds; most that the attention losses may make of a step. FLUX: 675
# TFLOP at half of the peak. A supervised layer may cost 1.25 of its attention's forward and
# backward pass again: three of FLUX's 57 layers, ten of Leffa's UNets, which are half attention.
MODELS = {
    "FLUX.1-Fill 12 B, LoRA, 1024x768": ("configs/coral/dit_vitonhd.py", 1370.0, 1.06),
    "FLUX, a toy": ("configs/coral/dit_vitonhd.py", None, None),
    "Leffa, SD-1.5, 1024x768": ("configs/leffa/unet_vitonhd.py", None, 1.6),
    "StableVITON, SD-1.5, 512x384": ("configs/stableviton/unet_vitonhd_atv.py", None, 1.25),
}


def cells(toy: bool) -> list[dict]:
    """One cell a model, the most valuable first."""
    names = list(MODELS)
    if toy:
        return [{"name": names[1], "toy": True, "steps": 1}]
    found = [
        {"name": name, "toy": False, "steps": 3 if "FLUX" in name else 5, "seconds": seconds}
        for name, seconds in zip(names, (60, 25, 40, 35), strict=True)
        if name != names[1]
    ]
    # the model's own attention without cuDNN: where a step crashes, this tells whose fault it is
    return [*found, {**found[0], "steps": 1, "cudnn": False}]


def run(cell: dict) -> list[dict]:
    """Rows: the step with and without attention losses, its memory, and a look at its timeline.

    What is least proven comes last: a crash leaves no device for what would follow.
    """
    torch.backends.cuda.enable_cudnn_sdp(cell.get("cudnn", True))
    model, batch = build(cell)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-5, fused=DEVICE == "cuda")
    losses = model.attention_losses
    rows, times = cell.setdefault("rows", []), {}
    for way in WAYS[: None if DEVICE == "cuda" else 2]:
        model.attention_losses = nn.ModuleDict() if way == "plain" else losses
        with kernels_allowed(way == WAYS[2]):
            times[way] = judge_way(cell, way, partial(step, model, optimiser, batch), trained)
        if way == "plain":
            add(cell, use_row(cell, model, batch, trained, times["plain"]))
        else:
            add(cell, ratio_row(cell, way, times[way] / times["plain"]))
    return rows


def judge_way(cell: dict, way: str, work: Callable[[], None], trained: list) -> float:
    """Milliseconds of a step; its rows are kept."""
    most_ms = MODELS[cell["name"]][1]
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ms = milliseconds(work, budget=1e5, most=cell["steps"])
    gib = torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else 0.0
    name = f"{title(cell)}, {way}"
    finite = all(bool(p.isfinite().all()) for p in trained)
    ok = None if cell["toy"] or most_ms is None else ms <= most_ms
    target = f"{most_ms:g} ms" if most_ms else "finite"
    add(cell, row(SECTION, name, ok if finite else False, target, ms=ms, finite=finite))
    if way == "supervised":
        add(cell, memory_row(cell, name, gib))
    add(cell, timeline(cell, name, work))
    return ms


def ratio_row(cell: dict, way: str, ratio: float) -> dict:
    """What attention losses make of a step."""
    most = MODELS[cell["name"]][2]
    ok = None if cell["toy"] or most is None else ratio <= most
    name = f"{title(cell)}, {way} / plain"
    return row(SECTION, name, ok, f"{most}" if most else "", ratio=ratio)


def title(cell: dict) -> str:
    """What rows of a cell are called after."""
    return cell["name"] + (", without cuDNN" if cell.get("cudnn") is False else "")


def add(cell: dict, found: dict) -> None:
    """Keep a row, on disk too: a cell that is cut off has what it found."""
    cell["rows"].append(found)
    if cell.get("file"):
        Path(cell["file"]).write_text(json.dumps(cell["rows"]))


def build(cell: dict):
    """The config's model with random weights, made on the device, and a batch."""
    args = flux_step.parse_args(["--tiny", "--size", "64", "48"] if cell["toy"] else [])
    if cell["name"].startswith("FLUX"):
        model, batch = flux_step.build("lora", True, args)
        batch["host_masks"] = {"mask": batch["mask"].cpu().numpy()}  # as the preprocessor leaves
        return model, batch
    config = settings_of(cell["name"])
    from vtonlab.engine.memory.estimate import without_weights
    from vtonlab.registry import MODELS as REGISTRY

    settings, _ = without_weights(config)
    for loss in settings["attention_losses"].values():
        loss.update(t_max=None, start_iter=0, warmup_iters=0)
    with torch.device(DEVICE):
        model = REGISTRY.build(settings)
    model.to(DEVICE).train()
    count = config.train_dataloader["batch_size"]
    batch = noise_batch(tuple(model.size), count)
    return model, model.data_preprocessor(batch, True)


def settings_of(name: str):
    """The finished config of one of `MODELS`."""
    from vtonlab.engine.config.load import finalize, load_config

    return finalize(load_config(MODELS[name][0]))


def step(model, optimiser, batch) -> None:
    """One training step in bfloat16, as the optimiser wrapper takes it."""
    with torch.autocast(DEVICE, torch.bfloat16):
        losses = model.loss(batch, step=0)
    sum(v for k, v in losses.items() if k.startswith("loss_")).backward()
    optimiser.step()
    optimiser.zero_grad()


def memory_row(cell: dict, name: str, gib: float) -> dict:
    """Peak against what the estimate said (a cell of `estimated`, measured before)."""
    expected = None
    for path in sorted(Path(cell.get("out", ".")).glob("estimated_*.json")):
        for found in json.loads(path.read_text()):
            if found["name"] == f"estimate, {cell['name']}":
                expected = found.get("gib")
    if not expected or not gib:
        return row(SECTION, f"{name}: memory", None, "", gib=gib)
    ratio = gib / expected
    ok = abs(ratio - 1) <= ESTIMATE
    target = f"1 +- {ESTIMATE}"
    return row(SECTION, f"{name}: memory", ok, target, gib=gib, estimate=expected, ratio=ratio)


def use_row(cell: dict, model, batch, trained, ms: float) -> dict:
    """Operations of a step, without and with recomputation, as a share of the peak."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        with torch.autocast(DEVICE, torch.bfloat16):
            model.loss(batch)
    forward = counter.get_total_flops()
    counts = [p.numel() for p in model.backbone.parameters()]
    share = min(1.0, sum(p.numel() for p in trained) / sum(counts))
    useful = forward * (2.0 + share)
    measured = {
        "forward_tflop": forward / 1e12,
        "useful share of peak": useful / ms / 1e9 / PEAK_TFLOPS,
        "with recomputation": (useful + forward) / ms / 1e9 / PEAK_TFLOPS,
    }
    return row(SECTION, f"{title(cell)}, plain: use", None, "", **measured)


def timeline(cell: dict, name: str, work: Callable[[], None]) -> dict:
    """Waits of the host for the device in one step, and the device's idle share."""
    name = f"{name}: timeline"
    if DEVICE != "cuda":
        return row("g. timeline", name, None, "", waits=0)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        ours = torch.cuda.Event()
        ours.record()
        while not ours.query():  # no wait that the profiler would count
            pass
        done = time.time_ns()  # what comes later is the profiler's own
    events = list(seen.profiler.kineto_results.events())
    waits = [e.name() for e in events if "Synchronize" in e.name() and e.start_ns() < done]
    spans = sorted(
        (e.start_ns(), e.start_ns() + e.duration_ns())
        for e in events
        if e.device_type() == torch.autograd.DeviceType.CUDA
    )
    busy, end = 0, 0
    for start, stop in spans:
        busy += max(0, stop - max(start, end))
        end = max(end, stop)
    idle = 1 - busy / max(1, end - spans[0][0]) if spans else 1.0
    ok = len(waits) <= WAITS
    return row(
        "g. timeline", name, ok, f"{WAITS} waits", waits=len(waits), idle=idle,
        kernels=len(spans), kinds=" ".join(sorted(set(waits))),
    )  # fmt: skip
