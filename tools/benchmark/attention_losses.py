"""What attention supervision costs, against the materialised map, side by side in one run.

Every loss runs twice over the same queries and keys: through the linear-memory statistics of
`AttentionRecord`, and over the whole map under plain autograd (softmax(q k), p @ v, entropy), as
code without them does it. The unit of both is one fused attention (scaled_dot_product_attention
with values as wide as the keys, forward and backward), a row of the same run. `--steps` adds whole
training steps of a small DiT and a small UNet, supervised and not. Each cell is a fresh process:
its peak memory is over that process at rest, its time the median of `--repeats` after `--warmup`
runs, forward and backward.

Example:
    python tools/benchmark/attention_losses.py --tokens 768 3072 --out work_dirs/benchmark
    python tools/benchmark/attention_losses.py --device cuda --tokens 768 3072 12288 --steps

Writes `table.md`, `results.json` and `plot.png`. Exit codes: 0 done, 1 done but a cell failed,
2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
import platform
import statistics
import subprocess
import time
from fnmatch import fnmatch
from pathlib import Path

UNIT = "one fused attention"
CASES = {
    UNIT: None,
    "mean_of + entropy": None,
    "mean_of + entropy, one pass": None,
    "distillation, regression": {"type": "CorrespondenceDistillationLoss"},
    "distillation, cross-entropy": {
        "type": "CorrespondenceDistillationLoss",
        "form": "cross_entropy",
    },
    "entropy, head mean": {"type": "AttentionEntropyLoss"},
    "entropy, per head": {"type": "AttentionEntropyLoss", "head_reduction": "none"},
    "keypoints": {"type": "KeypointAttentionLoss"},
    "flow": {"type": "AttentionFlowLoss"},
    "total variation": {"type": "AttentionTVLoss"},
    "correlation": {"type": "CorrelationRegularizationLoss"},
}
WAYS = ("record", "materialised")
DISTILLATION = {"type": "CorrespondenceDistillationLoss", "weight": 0.1}
STEPS = {
    "unsupervised": [],
    "both CORAL losses": [DISTILLATION, {"type": "AttentionEntropyLoss", "weight": 0.01}],
    "both, entropy per head": [
        DISTILLATION,
        {"type": "AttentionEntropyLoss", "weight": 0.01, "head_reduction": "none"},
    ],
}
MODELS = ("dit", "unet")
GRIDS = {192: (16, 12), 768: (32, 24), 1728: (48, 36), 3072: (64, 48), 6912: (96, 72),
         12288: (128, 96)}  # fmt: skip
# Maps alive at once in the materialised backward: score, probability, products, gradients.
LIVE_MAPS = 8


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=at_least(1), nargs="+", default=[768, 3072, 6912, 12288],
                        choices=sorted(GRIDS), help="queries, and as many keys")  # fmt: skip
    parser.add_argument("--heads", type=at_least(1), default=8)
    parser.add_argument("--head-size", type=at_least(1), default=40)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float64"])
    parser.add_argument("--only", default="*", help="glob pattern over the names of the rows")
    parser.add_argument("--steps", nargs="*", choices=MODELS, metavar="MODEL",
                        help=f"also whole training steps (default: {MODELS})")  # fmt: skip
    parser.add_argument("--step-tokens", type=int, default=3072, choices=sorted(GRIDS),
                        help="of a person in training steps, and of a garment")  # fmt: skip
    parser.add_argument("--warmup", type=at_least(0), default=3)
    parser.add_argument("--repeats", type=at_least(1), default=3)
    parser.add_argument(
        "--threads", type=at_least(1), default=None, help="default: torch's own choice"
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark/attention_losses"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


# --- one cell, in its own process ---------------------------------------------------------------


def measure(run, device: str, warmup: int, repeats: int) -> dict[str, float]:
    """Median seconds of `run()` and its peak megabytes over the process as it is now."""
    import torch

    def synchronized() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    idle = resident_megabytes(device, peak=False)
    seconds, cpu_seconds = [], []
    for _ in range(warmup + repeats):
        start, cpu_start = synchronized(), time.process_time()
        run()
        seconds.append(synchronized() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    return {
        "seconds": statistics.median(seconds[warmup:]),
        "cpu_seconds": statistics.median(cpu_seconds[warmup:]),  # what a busy machine leaves alone
        "megabytes": resident_megabytes(device, peak=True) - idle,
    }


def resident_megabytes(device: str, peak: bool) -> float:
    """Memory of this process (CPU) or on its GPU, now or at most so far."""
    if device == "cuda":
        import torch

        read = torch.cuda.max_memory_allocated if peak else torch.cuda.memory_allocated
        return read() / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM" if peak else "VmRSS"].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run_loss_cell(cell: dict) -> dict[str, float]:
    """Time and memory of one loss, one way, at one number of tokens."""
    import torch

    from vtonlab.ops.attention_backend import attention_backend
    from vtonlab.structures import AttentionRecord

    torch.manual_seed(0)
    device = cell["device"]
    dtype = getattr(torch, cell["dtype"])
    backend = "auto" if cell["way"] == "record" else "materialised"
    unit = cell["name"] == UNIT
    question = None if unit else question_of(cell["name"], cell["way"])

    def tensor(tokens):
        shape = (1, cell["heads"], tokens, cell["head_size"])
        return torch.randn(shape, device=device, dtype=dtype, requires_grad=True)

    def attend(grid, batch) -> None:
        parts = [tensor(grid[0] * grid[1]) for _ in range(3)]
        fused = torch.nn.functional.scaled_dot_product_attention
        (fused if cell["way"] == "record" else plain_attention)(*parts).sum().backward()

    def ask(grid, batch) -> None:
        record = AttentionRecord(
            name="layer",
            query=tensor(grid[0] * grid[1]),
            key=tensor(grid[0] * grid[1]),
            query_grid=grid,
            key_grid=grid,
            scale=cell["head_size"] ** -0.5,
        )
        with attention_backend(backend):
            question(record, batch).backward()

    run = attend if unit else ask
    grids = [(8, 6), GRIDS[cell["tokens"]]]
    small, full = (make_batch(grid, device) if CASES[cell["name"]] else {} for grid in grids)
    run(grids[0], small)  # loads libraries: the idle process has them
    return measure(lambda: run(grids[1], full), device, cell["warmup"], cell["repeats"])


def plain_attention(query, key, value):
    """softmax(q k) v by way of the whole map."""
    return (query * query.shape[-1] ** -0.5 @ key.mT).softmax(-1) @ value


def question_of(name: str, way: str):
    """`question(record, batch)` -> the scalar of one row of the table."""
    import torch

    from vtonlab.registry import ATTENTION_LOSSES
    from vtonlab.structures.correspondences import cell_centres

    if CASES[name] is not None:
        loss = ATTENTION_LOSSES.build(dict(CASES[name]))
        return lambda record, batch: loss(
            [record], batch, timesteps=torch.zeros(1, device=record.query.device), step=0
        )["loss"]

    def question(record, batch):
        points = cell_centres(record.key_grid).to(record.query.device)
        if way == "record" and "one pass" not in name:
            return record.mean_of(points).sum() + record.entropy().sum()
        moments = record.moments(points, entropy=True)  # the whole map only once
        return moments.mean.sum() + moments.entropy.sum()

    return question


def make_batch(grid: tuple[int, int], device: str) -> dict:
    """A preprocessed batch of one sample in which every person token is supervised."""
    import torch

    from vtonlab.structures import Correspondences, FlowField
    from vtonlab.structures.correspondences import cell_centres

    size = (grid[0] * 8, grid[1] * 8)
    points = cell_centres(grid)
    garment_points = torch.rand_like(points)
    picture = torch.rand(1, 3, *size, device=device) * 2 - 1
    mask = torch.ones(1, 1, *size, device=device)
    matches = Correspondences(
        person_points=points, garment_points=garment_points, scores=torch.ones(len(points))
    )
    flow = FlowField(flow=garment_points.view(*grid, 2), visible=torch.ones(grid, dtype=torch.bool))
    return {
        "person": picture, "garment": picture.flip(3), "mask": mask, "worn_mask": mask,
        "garment_mask": mask, "correspondences": [matches], "flow": [flow],
    }  # fmt: skip


def run_step_cell(cell: dict) -> dict[str, float]:
    """Time and memory of one training step of a small model."""
    import torch
    from torch.nn.functional import mse_loss

    from vtonlab.attention import AttentionRecorder
    from vtonlab.ops.panels import GARMENT, PERSON, panel_indices
    from vtonlab.registry import ATTENTION_LOSSES
    from vtonlab.structures import AttentionRecord

    torch.manual_seed(0)
    grid, device = GRIDS[cell["tokens"]], cell["device"]
    model, layers, inputs, record_grid = MODEL_BUILDERS[cell["model"]](grid, device)
    losses = [ATTENTION_LOSSES.build(dict(config)) for config in STEPS[cell["name"]]]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = make_batch(record_grid, device)
    timesteps = torch.full((1,), 100.0, device=device)
    person, garment = (
        panel_indices(record_grid, 2, panel).to(device) for panel in (PERSON, GARMENT)
    )

    def to_record(name, query, key, scale):
        other = torch.ones(key.shape[2], dtype=torch.bool, device=device)
        other[garment] = False
        return AttentionRecord(
            name=name, query=query[:, :, person], key=key[:, :, garment],
            query_grid=record_grid, key_grid=record_grid, scale=scale,
            context_key=key[:, :, other],
        )  # fmt: skip

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        if losses:
            with AttentionRecorder(model, layers=layers, to_record=to_record) as recorder:
                output = model(**inputs).sample
            total = mse_loss(output, torch.zeros_like(output))
            for loss in losses:
                answer = loss(recorder.records, batch, timesteps=timesteps, step=0)
                total = total + answer["loss"]
        else:
            output = model(**inputs).sample
            total = mse_loss(output, torch.zeros_like(output))
        total.backward()
        optimizer.step()

    return measure(step, device, cell["warmup"], cell["repeats"])


def build_dit(grid, device):
    """SD3's transformer, twelve blocks of width 384, two panels side by side, two recorded."""
    import torch
    from diffusers import SD3Transformer2DModel

    height, width = grid[0] * 2, grid[1] * 4  # 2 x 2 latents in a token, two panels
    model = SD3Transformer2DModel(
        sample_size=max(height, width), patch_size=2, in_channels=16, num_layers=12,
        attention_head_dim=64, num_attention_heads=6, joint_attention_dim=64,
        caption_projection_dim=384, pooled_projection_dim=64, out_channels=16,
        pos_embed_max_size=max(height, width) // 2,
    ).to(device)  # fmt: skip
    model.enable_gradient_checkpointing()
    inputs = {
        "hidden_states": torch.randn(1, 16, height, width, device=device),
        "encoder_hidden_states": torch.randn(1, 8, 64, device=device),
        "pooled_projections": torch.randn(1, 64, device=device),
        "timestep": torch.full((1,), 100.0, device=device),
    }
    return model, ["transformer_blocks.4.attn", "transformer_blocks.8.attn"], inputs, grid


def build_unet(grid, device):
    """A UNet in SD-1.x's shape at a quarter of its width, two panels, its second grid recorded."""
    import torch
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(64, 128, 256), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64, attention_head_dim=8, norm_num_groups=16,
    ).to(device)  # fmt: skip
    model.enable_gradient_checkpointing()
    inputs = {
        "sample": torch.randn(1, 4, grid[0] * 2, grid[1] * 4, device=device),
        "timestep": torch.full((1,), 100.0, device=device),
        "encoder_hidden_states": torch.randn(1, 8, 64, device=device),
    }
    layers = ["up_blocks.1.attentions.*.transformer_blocks.0.attn1"]
    return model, layers, inputs, grid


MODEL_BUILDERS = {"dit": build_dit, "unet": build_unet}


# --- all cells ------------------------------------------------------------------------------


def list_cells(args: argparse.Namespace) -> list[dict]:
    """Every measurement of the run."""
    common = {key: getattr(args, key) for key in ("device", "warmup", "repeats", "threads")}
    sizes = {"heads": args.heads, "head_size": args.head_size, "dtype": args.dtype}
    cells = [
        {"kind": "loss", "name": name, "tokens": tokens, "way": way, **sizes, **common}
        for name in CASES
        if name == UNIT or fnmatch(name, args.only)
        for tokens in args.tokens
        for way in WAYS
    ]
    if args.steps is not None:
        cells += [
            {"kind": "step", "name": name, "tokens": args.step_tokens, "model": model, **common}
            for model in args.steps or MODELS
            for name in STEPS
        ]
    return cells


def run_cell(cell: dict) -> dict:
    """Measure one cell in a fresh process; `error` says why there is no number."""
    too_large = does_not_fit(cell)
    if too_large:
        return {**cell, "error": too_large, "expected": True}
    command = [sys.executable, __file__, "--worker", json.dumps(cell)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return {**cell, "error": lines[-1] if lines else f"exit code {done.returncode}"}
    return {**cell, **json.loads(done.stdout.strip().splitlines()[-1])}


def does_not_fit(cell: dict) -> str | None:
    """Whether the materialised map would not fit into the memory that is free now."""
    if cell.get("way") != "materialised":
        return None
    size = 8 if cell["dtype"] == "float64" else 4
    need = LIVE_MAPS * size * cell["heads"] * cell["tokens"] ** 2 / 2**30
    have = free_gigabytes(cell["device"])
    return f"needs some {need:.0f} GB, {have:.0f} free" if need > have else None


def free_gigabytes(device: str) -> float:
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0] / 2**30
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return 16.0
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) / 2**20


def table_of(results: list[dict]) -> str:
    """Markdown tables of losses and of training steps."""
    lines = [
        "| loss | tokens | record | fused | materialised | fused | record | materialised |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    found = {(r["name"], r["tokens"], r.get("way")): r for r in results if r["kind"] == "loss"}
    for name, tokens in dict.fromkeys(key[:2] for key in found):
        pair = [found[name, tokens, way] for way in WAYS]
        times = " | ".join(
            f"{cell_text(r, 'seconds', '{:.3f} s')} | {times_the_unit(r, found)}" for r in pair
        )
        peaks = " | ".join(cell_text(r, "megabytes", "{:.0f} MB") for r in pair)
        lines.append(f"| {name} | {tokens} | {times} | {peaks} |")
    steps = [r for r in results if r["kind"] == "step"]
    if steps:
        lines += ["", "| model | step | tokens | time | times | peak | times |",
                  "|---|---|--:|--:|--:|--:|--:|"]  # fmt: skip
    for r in steps:
        base = next(b for b in steps if b["model"] == r["model"] and b["name"] == "unsupervised")
        ratios = [
            "" if "error" in r or "error" in base else f"{r[key] / base[key]:.3f}"
            for key in ("seconds", "megabytes")
        ]
        lines.append(
            f"| {r['model']} | {r['name']} | 2 x {r['tokens']} | "
            f"{cell_text(r, 'seconds', '{:.2f} s')} | {ratios[0]} | "
            f"{cell_text(r, 'megabytes', '{:.0f} MB')} | {ratios[1]} |"
        )
    return "\n".join(lines) + "\n"


def times_the_unit(result: dict, found: dict) -> str:
    """Time as a multiple of the run's fused attention; by processor seconds on a CPU, which other
    work leaves alone. Empty where the run has none.
    """
    unit = found.get((UNIT, result["tokens"], "record"), {"error": "not asked for"})
    if "error" in unit or "error" in result:
        return ""
    key = "cpu_seconds" if result["device"] == "cpu" else "seconds"
    return f"{result[key] / unit[key]:.2f}"


def cell_text(result: dict, key: str, form: str) -> str:
    return result["error"] if "error" in result else form.format(result[key])


def plot(results: list[dict], path: Path) -> None:
    """Time and peak memory over tokens; record solid, materialised dashed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    losses = [r for r in results if r["kind"] == "loss" and "error" not in r]
    names = list(dict.fromkeys(r["name"] for r in losses))
    for axis, key, label in (
        (axes[0], "seconds", "forward + backward, s"),
        (axes[1], "megabytes", "peak over idle, MB"),
    ):
        for i, name in enumerate(names):
            for way, style in zip(WAYS, ("o-", "x--"), strict=True):
                points = sorted(
                    (r["tokens"], r[key]) for r in losses if (r["name"], r["way"]) == (name, way)
                )
                if points:
                    text = name if way == "record" else None
                    axis.plot(*zip(*points, strict=True), style, color=f"C{i}", label=text)
        axis.set(xscale="log", yscale="log", xlabel="person tokens = garment tokens", ylabel=label)
        axis.grid(alpha=0.3, which="both")
    axes[0].set_title("solid: AttentionRecord, dashed: materialised map")
    if names:
        axes[1].legend(fontsize="small")
    figure.savefig(path, dpi=120)


def hardware(device: str) -> str:
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if device == "cpu" and cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0].split(":")[1].strip() if models else name
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if args.worker:
        return worker(json.loads(args.worker))
    cells = list_cells(args)
    if not any(fnmatch(name, args.only) for name in CASES):
        print(f"--only {args.only!r} matches no row; there are: {', '.join(CASES)}.")
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    results, start = [], time.monotonic()
    for done, cell in enumerate(cells, 1):
        results.append(run_cell(cell))
        left = (time.monotonic() - start) / done * (len(cells) - done)
        result = results[-1]
        outcome = result.get("error") or (
            f"{result['seconds']:.3f} s, {result['megabytes']:.0f} MB"
        )
        what = f"{cell['name']}, {cell.get('way') or cell['model']}, {cell['tokens']} tokens"
        print(f"[{done}/{len(cells)}, {left:.0f} s left] {what}: {outcome}", flush=True)
        (args.out / "results.json").write_text(json.dumps(results, indent=1))
    command = "python tools/benchmark/attention_losses.py " + " ".join(argv or sys.argv[1:])
    table = f"{hardware(args.device)}; `{command}`\n\n{table_of(results)}"
    (args.out / "table.md").write_text(table)
    plot(results, args.out / "plot.png")
    print(f"\n{table}\nWritten to {args.out}")
    return int(any("error" in r and not r.get("expected") for r in results))


def worker(cell: dict) -> int:
    import torch

    if cell["threads"]:
        torch.set_num_threads(cell["threads"])
    run = run_loss_cell if cell["kind"] == "loss" else run_step_cell
    print(json.dumps(run(cell)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
