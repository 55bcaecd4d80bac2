"""Train the CORAL toy and its baseline side by side, test both, and write a report.

Example:
    python tools/demo.py
    python tools/demo.py --seed 1 --out work_dirs/demo_seed1
    python tools/demo.py --control          # a third model learns from garment points of
    other samples

Writes summary.json and report.html into --out. Exit codes: 0 done, 1 a run failed (its log is
named), 2 bad input.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

CONFIGS = {
    "baseline": "configs/coral/dit_synthetic_baseline.py",
    "coral": "configs/coral/dit_synthetic.py",
    "shuffled": "configs/coral/dit_synthetic.py",
}
CONTROL = "train_dataloader.dataset.shuffle_correspondences=points"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="work_dirs/demo", help="folder of runs and report")
    parser.add_argument("--seed", type=int, default=0, help="of both runs")
    parser.add_argument("--iterations", type=int, help="instead of the config's")
    parser.add_argument(
        "--control", action="store_true", help="also train with shuffled correspondences"
    )
    return parser.parse_args(argv)


def main() -> int:
    args = parse_args()
    start, seconds, out = time.time(), {}, Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    names = ["baseline", "coral"] + ["shuffled"] * args.control

    from vtonlab.engine.config import load_config

    config = load_config(CONFIGS["coral"])
    iterations = args.iterations or config.train_cfg.max_iters
    print("1/4  drawing people", flush=True)
    mark = time.time()
    fill_caches(config)
    seconds["rendering"] = time.time() - mark

    print(f"2/4  training {' and '.join(names)}, {iterations} steps each", flush=True)
    mark, train = time.time(), {n: train_command(n, out / n, args) for n in names}
    if not run_together(train, out, iterations):
        return 1
    seconds["training"] = time.time() - mark

    print("3/4  testing on people that no model has seen", flush=True)
    mark = time.time()
    test = {n: test_command(n, out / n, iterations, args.seed) for n in names}
    if not run_together(test, out):
        return 1
    seconds["testing"] = time.time() - mark

    print("4/4  writing the report", flush=True)
    scores = {n: json.loads((out / n / "test/results.json").read_text())["metrics"] for n in names}
    seconds["all"] = time.time() - start
    summary = scores | dict(
        seconds={k: round(v, 1) for k, v in seconds.items()}, environment=environment(args.seed)
    )
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    commands = [" ".join(c) for c in (*train.values(), *test.values())]
    write_report(config, out, summary, commands, iterations)
    for key in ("attention_pck", "garment_mass", "l1_inside"):
        print(f"{key:>16}: " + "  ".join(f"{n} {scores[n][key]:.3f}" for n in names))
    print(f"open {out / 'report.html'} ({seconds['all'] / 60:.1f} minutes)")
    return 0


def train_command(name: str, work_dir: Path, args: argparse.Namespace) -> list[str]:
    """One training run, as a user would type it."""
    command = ["python", "tools/train.py", CONFIGS[name], "--work-dir", str(work_dir)]
    command += ["--seed", str(args.seed)]
    options = [CONTROL] if name == "shuffled" else []
    if args.iterations:
        options.append(f"train_cfg.max_iters={args.iterations}")
    return command + (["--cfg-options", *options] if options else [])


def test_command(name: str, work_dir: Path, iterations: int, seed: int) -> list[str]:
    """One test run, as a user would type it."""
    checkpoint = work_dir / f"iter_{iterations}.pth"
    return [
        *["python", "tools/test.py", CONFIGS[name], str(checkpoint)],
        *["--out", str(work_dir / "test"), "--restart", "--cfg-options", f"randomness.seed={seed}"],
    ]


def run_together(commands: dict[str, list[str]], out: Path, iterations: int = 0) -> bool:
    """Run all commands at once, one thread each, with progress; False if one failed."""
    logs = {name: out / f"{name}_{Path(c[1]).stem}.log" for name, c in commands.items()}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    running = {}
    for name, command in commands.items():
        with open(logs[name], "w") as log:
            running[name] = subprocess.Popen(
                [sys.executable, *command[1:]],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
    start = shown = time.time()
    while any(process.poll() is None for process in running.values()):
        time.sleep(1)
        if time.time() - shown > 15:
            shown = time.time()
            print("     " + progress(logs, iterations, shown - start), flush=True)
    failed = [name for name, process in running.items() if process.returncode]
    for name in failed:
        tail = logs[name].read_text().strip().splitlines()[-1:]
        print(f"error: {name} failed: {' '.join(tail)} (log: {logs[name]})", file=sys.stderr)
    return not failed


def progress(logs: dict[str, Path], iterations: int, elapsed: float) -> str:
    """``baseline 300/1000, coral 290/1000, about 4.0 minutes left``."""
    if not iterations:
        return f"{elapsed:.0f} s"
    done = {name: last_iteration(path.parent / name) for name, path in logs.items()}
    counts = ", ".join(f"{name} {count}/{iterations}" for name, count in done.items())
    slowest = min(done.values())
    if slowest == 0:
        return counts
    return f"{counts}, about {elapsed / slowest * (iterations - slowest) / 60:.1f} minutes left"


def scalars(work_dir: Path) -> list[dict]:
    """What the newest run of a work directory logged, one dict a line."""
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not files:
        return []
    lines = files[-1].read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def last_iteration(work_dir: Path) -> int:
    return max((row.get("iter", 0) for row in scalars(work_dir)), default=0)


def fill_caches(config) -> None:
    """Draw every person that the configs ask for into the cache that all runs share."""
    from multiprocessing import get_context

    from vtonlab.registry import DATASETS

    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        settings = config[loader].dataset.to_dict()
        length, mark, workers = len(DATASETS.build(settings)), time.time(), os.cpu_count() or 1
        parts = [(settings, list(range(n, length, 4 * workers))) for n in range(4 * workers)]
        with get_context("spawn").Pool(workers) as pool:
            for _ in pool.imap_unordered(_draw, parts):
                pass
        print(f"     {settings['split']}: {length} in {time.time() - mark:.0f} s", flush=True)


def _draw(part: tuple[dict, list[int]]) -> None:
    import torch

    from vtonlab.registry import DATASETS

    torch.set_num_threads(1)
    dataset = DATASETS.build(part[0])
    for index in part[1]:
        dataset[index]


def environment(seed: int) -> dict[str, str]:
    """What the numbers depend on besides the code."""
    import platform
    from importlib.metadata import version

    packages = ("torch", "diffusers", "mmengine", "opencv-python", "numpy")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return dict(
        date=time.strftime("%Y-%m-%d %H:%M"),
        machine=f"{platform.machine()}, {os.cpu_count()} CPU cores, {platform.system()}",
        python=platform.python_version(),
        versions=", ".join(f"{name} {version(name)}" for name in packages),
        vtonlab=f"{version_of_vtonlab()} ({commit.stdout.strip() or 'no git'})",
        seed=str(seed),
    )


def version_of_vtonlab() -> str:
    from vtonlab import __version__

    return __version__


def write_report(config, out: Path, summary: dict, commands: list[str], iterations: int) -> None:
    """Render the page from the two runs on disk."""
    from vtonlab.evaluation.report.demo import MODELS, Curves, build_page

    curves = {}
    for name in MODELS:
        rows = scalars(out / name)
        curves[name] = Curves(
            loss=[(r["iter"], r["loss_diffusion"]) for r in rows if "loss_diffusion" in r],
            pck=[(r["step"], r["attention_pck"]) for r in rows if "attention_pck" in r],
        )
    page = build_page(summary, collect_exhibits(out, iterations), curves, commands)
    (out / "report.html").write_text(page, encoding="utf-8")


def collect_exhibits(out: Path, iterations: int, count: int = 12) -> list:
    """The first held-out people: saved pictures of both models, and their attention read again."""
    import numpy as np
    import torch
    from PIL import Image

    from vtonlab.engine.config import load_config
    from vtonlab.evaluation.report.demo import MODELS, Exhibit
    from vtonlab.models.try_on_diffusion import to_uint8
    from vtonlab.registry import DATASETS
    from vtonlab.registry import MODELS as SYSTEMS
    from vtonlab.structures.sample import collate

    config = load_config(CONFIGS["coral"])
    dataset = DATASETS.build(config.test_dataloader.dataset.to_dict())
    samples = [dataset[index] for index in range(min(count, len(dataset)))]
    maps, batch = {}, None
    for name in MODELS:
        model = SYSTEMS.build(load_config(CONFIGS[name]).model).eval()
        weights = torch.load(out / name / f"iter_{iterations}.pth", weights_only=True)
        model.load_state_dict(weights["state_dict"])
        batch = model.data_preprocessor(collate(samples))
        layer = summary_layer(out, name)
        with torch.no_grad():
            record = model.attention_records(batch, config.model.probe.sigma, [layer])[0]
            maps[name] = record.mean_map().float().numpy()
    grid, agnostic = record.query_grid, to_uint8(batch["agnostic"])
    exhibits = []
    for place, sample in enumerate(samples):
        truth, visible = sample["flow"].to_grid(grid)
        file = f"test/pictures/{sample['id']}__{sample['garment_id']}.png"
        exhibits.append(
            Exhibit(
                person=sample["person"],
                agnostic=agnostic[place],
                garment=sample["garment"],
                outputs={n: np.asarray(Image.open(out / n / file).convert("RGB")) for n in MODELS},
                maps={n: maps[n][place] for n in MODELS},
                truth=truth.numpy(),
                visible=visible.numpy(),
                grid=grid,
            )
        )
    return exhibits


def summary_layer(out: Path, name: str) -> str:
    """The block that scored best in the test."""
    results = json.loads((out / name / "test/results.json").read_text())
    return results["metrics"]["attention_pck_layer"]


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
