"""Show the shipped models at work, then train CORAL and its baseline here, and write a report.

CORAL's correspondence loss fine-tunes a shipped base on CatVTON's canvas, person above garment, and
its baseline does without it: the same people, the same number of steps, side by side. After a
minute the page shows a pair that ships, trained alike, and the best model in the box.

Example:
    python tools/demo.py
    python tools/demo.py --seed 1 --out work_dirs/demo_seed1
    python tools/demo.py --control          # a third model learns from garment points of
    other samples

Writes summary.json and report.html into --out. Exit codes: 0 done, 1 a run failed (its log is
named), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
import os
import subprocess
import time
from pathlib import Path

CONFIGS = {
    "baseline": "configs/catvton/unet_bold.py",
    "coral": "configs/catvton/unet_bold_coral.py",
    "shuffled": "configs/catvton/unet_bold_coral.py",
}
ITERATIONS = 400  # fewer than the configs', whose pair takes three minutes more
SHIPPED = {
    "shipped_baseline": "catvton_synthetic",
    "shipped_coral": "catvton_coral_synthetic",
    "best": "coral_unet_synthetic",
}
NAMES = {  # in the page's order, which is that of its colours
    "shipped_baseline": "baseline, shipped",
    "shipped_coral": "CORAL, shipped",
    "baseline": "baseline, trained here",
    "coral": "CORAL, trained here",
    "shuffled": "shuffled control",
    "best": "best that ships",
}
FIRST = 6  # people that open the page
SCHEDULE, WARMUP = "param_scheduler.1.end", 50  # which sets in where the warm-up ends
CONTROL = "train_dataloader.dataset.shuffle_correspondences=points"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="work_dirs/demo", help="folder of runs and report")
    parser.add_argument("--seed", type=int, default=0, help="of both runs")
    parser.add_argument(
        "--iterations", type=at_least(1), default=ITERATIONS, help="of each training"
    )
    parser.add_argument(
        "--control", action="store_true", help="also train with shuffled correspondences"
    )
    return parser.parse_args(argv)


def main() -> int:
    args = parse_args()
    start, seconds, out = time.time(), {}, Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    names = ["baseline", "coral"] + ["shuffled"] * args.control

    from vtonlab.engine.config.load import load_config

    config = load_config(CONFIGS["coral"])
    iterations, size = args.iterations, tuple(config.model.size)
    mark = time.time()
    print("1/5  shipped models dress people that no model has seen", flush=True)
    fill_caches(config, ["test_dataloader"])
    commands = {name: shipped_command(name, out / name) for name in SHIPPED}
    if not run_together(commands, out):
        return 1
    seconds["shipped"] = time.time() - mark
    write_summary(out, list(SHIPPED), seconds, args.seed, commands, size)
    print(f"     open {out / 'report.html'}: it grows by what is trained now", flush=True)

    print("2/5  drawing people to learn from", flush=True)
    mark = time.time()
    fill_caches(config, ["train_dataloader", "val_dataloader"])
    seconds["rendering"] = time.time() - mark

    print(f"3/5  training {' and '.join(names)}, {iterations} steps each", flush=True)
    mark, train = time.time(), {n: train_command(n, out / n, args) for n in names}
    if not run_together(train, out, iterations):
        return 1
    seconds["training"] = time.time() - mark

    print("4/5  testing them on the same people", flush=True)
    mark = time.time()
    test = {n: test_command(n, out / n, iterations, args.seed) for n in names}
    if not run_together(test, out):
        return 1
    seconds["testing"] = time.time() - mark

    print("5/5  writing the report", flush=True)
    seconds["all"] = time.time() - start
    commands = [*commands.values(), *train.values(), *test.values()]
    names = [name for name in NAMES if name in (*SHIPPED, *names)]
    scores = write_summary(out, names, seconds, args.seed, commands, size)
    for key in ("share_of_the_way", "share_of_the_print", "ssim_inside", "attention_pck"):
        print(f"{key:>18}: " + "  ".join(f"{NAMES[n]} {scores[n][key]:.3f}" for n in names))
    print(f"open {out / 'report.html'} ({seconds['all'] / 60:.1f} minutes)")
    return 0


def write_summary(
    out: Path, names: list[str], seconds: dict, seed: int, commands, size: tuple[int, int]
) -> dict:
    """summary.json and the page of what has been tested so far; returns the summary."""
    scores = {n: json.loads((out / n / "test/results.json").read_text())["metrics"] for n in names}
    summary = scores | dict(
        seconds={k: round(v, 1) for k, v in seconds.items()}, environment=environment(seed)
    )
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    lines = commands.values() if isinstance(commands, dict) else commands
    write_report(out, summary, [" ".join(line) for line in lines], size)
    return summary


def shipped_command(name: str, work_dir: Path) -> list[str]:
    """The test of a shipped model, as a user would type it."""
    return [
        *["python", "tools/test.py", "--model", SHIPPED[name], "--out", str(work_dir / "test")],
        *["--restart", "--cfg-options", "test_dataloader.dataset.split=test"],
    ]


def train_command(name: str, work_dir: Path, args: argparse.Namespace) -> list[str]:
    """One training run, as a user would type it."""
    command = ["python", "tools/train.py", CONFIGS[name], "--work-dir", str(work_dir)]
    command += ["--seed", str(args.seed)]
    options = [CONTROL] if name == "shuffled" else []
    options.append(f"train_cfg.max_iters={args.iterations}")
    options.append(f"{SCHEDULE}={max(args.iterations, WARMUP + 1)}")
    if name != "baseline":  # over after two thirds, as in the config
        at, third = "model.attention_losses.correspondence", max(args.iterations // 3, 1)
        options += [f"{at}.end_iter={2 * third}", f"{at}.cooldown_iters={third}"]
    return [*command, "--cfg-options", *options]


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
    """``baseline 300/600, coral 290/600, about 4.0 minutes left``: by the runs' own seconds a step,
    times the steps left, less what has passed since they were noted.
    """
    if not iterations:
        return f"{elapsed:.0f} s"
    counts, left = [], []
    for name, path in logs.items():
        rows = [row for row in scalars(path.parent / name) if {"time", "iter"} <= row.keys()]
        done = max((row["iter"] for row in rows), default=0)
        counts.append(f"{name} {done}/{iterations}")
        if rows:
            pace = sum(row["time"] for row in rows[-2:]) / len(rows[-2:])
            left.append(pace * (iterations - done) - (time.time() - noted(path.parent / name)))
    if len(left) < len(logs):
        return ", ".join(counts)
    return f"{', '.join(counts)}, about {max(*left, 0.0) / 60:.1f} minutes left"


def scalars(work_dir: Path) -> list[dict]:
    """What the newest run of a work directory logged, one dict a line."""
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not files:
        return []
    lines = files[-1].read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def noted(work_dir: Path) -> float:
    """When the newest run last logged, seconds since the epoch."""
    return max(path.stat().st_mtime for path in work_dir.glob("*/vis_data/scalars.json"))


def fill_caches(config, loaders: list[str]) -> None:
    """Draw every person that these loaders ask for into the cache that all runs share."""
    from multiprocessing import get_context

    from vtonlab.registry import DATASETS

    for loader in loaders:
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


# The report ---------------------------------------------------------------------------------------


def write_report(out: Path, summary: dict, commands: list[str], size: tuple[int, int]) -> None:
    """Make the page of the runs on disk; ``size`` is (height, width) of the pictures."""
    from vtonlab.evaluation.report import collect, write_page

    names = [name for name in NAMES if name in summary]
    groups = collect([f"{NAMES[name]}={out / name / 'test'}" for name in names])
    write_page(out / "report.html", groups, story(summary, commands, size), pictures="embed")


def story(summary: dict, commands: list[str], size: tuple[int, int]):
    """What the page explains besides the results."""
    from vtonlab.evaluation.report import Chart, Story

    trained = "coral" in summary
    pair = ("baseline", "coral") if trained else ("shipped_baseline", "shipped_coral")
    baseline, coral = (summary[name] for name in pair)
    lead = LEAD
    if trained:
        lead += HERE.format(minutes=f"{summary['seconds']['training'] / 60:.0f}")
    lead += CONTROL_LEAD if "shuffled" in summary else ""
    return Story(
        title="Does attention land on the garment?",
        lead=lead,
        opening=FIRST,
        figures=figures(baseline, coral, " trained here" if trained else ""),
        order=("attention", "pairs", "curves", "scores", "commands"),
        headings=dict(
            attention="Where does a point of the body look?",
            pairs="Pair by pair",
            curves="How they learned",
            scores="The scores",
        ),
        notes=notes(coral, size),
        charts=[
            Chart(
                key="attention_pck",
                label="attention PCK, validation people",
                y_range=(0.0, 1.0),
                reference=("guessing", coral["attention_pck_chance"]),
            ),
            Chart(key="loss_diffusion", label="denoising loss", smoothed=5),
        ],
        commands=commands,
        environment=summary["environment"],
    )


def figures(baseline: dict, coral: dict, where: str) -> list[tuple[str, str, str]]:
    """The numbers that open the page: each with what it is and its colour."""
    slate, orange = "#64748b", "#e4572e"
    way = f"of the way from one colour to copying the garment, CORAL{where}"
    way += f" (baseline {baseline['share_of_the_way']:.0%})"
    cloth = f"of it on the printed cloth alone (baseline {baseline['share_of_the_print']:.0%})"
    found = "of garment points found by CORAL's attention"
    return [
        (f"{coral['share_of_the_way']:.0%}", way, orange),
        (f"{coral['share_of_the_print']:.0%}", cloth, orange),
        (f"{coral['attention_pck']:.0%}", found, orange),
        (f"{baseline['attention_pck']:.0%}", "found by the baseline's", slate),
        (f"{coral['attention_pck_chance']:.1%}", "would be found by guessing", ""),
    ]


def notes(coral: dict, size: tuple[int, int]) -> dict[str, str]:
    """What stands under the page's headings."""
    scores = SCORES.format(
        pictures=coral["pictures"],
        queries=coral["attention_pck_queries"],
        fill=f"{coral['l1_inside_fill']:.3f}",
        copy=f"{coral['l1_inside_copy']:.3f}",
    )
    opening = OPENING.format(size=f"{size[1]}x{size[0]}")
    return dict(attention=ATTENTION, opening=opening, pairs=PAIRS, curves=CURVES, scores=scores)


LEAD = """Small diffusion models dress rendered people. The two of a pair are one network, taught
by the same pictures. <b style="color:#e4572e">CORAL</b> was also told, while it learned, which
point of the garment each point of the body wears. The <b style="color:#64748b">baseline</b> was
not. Both draw person and garment on one canvas and began from weights that had never seen two
pictures in one: told, they learn in minutes where to look; from pictures alone they hardly do. Such
a pair ships with vtonlab. The best model that ships reads the garment through a second network and
learned for longer, with CORAL's losses too."""
HERE = """ The other pair, half as wide, was trained on this machine in {minutes} minutes."""
CONTROL_LEAD = """ A third, the <b>shuffled control</b>, was told as much, but points of other
people's garments."""
ATTENTION = """Move over the person (or tap). The models are half way through removing the noise;
each garment shows what the chosen body point attends to in one model, bright where it looks most.
The green ring is where the point truly belongs, which only rendered data knows."""
OPENING = """The first people of the test set; nobody chose them. The models get the person with
the try-on area painted grey, the body's parts, and the flat garment. Pictures are {size} pixels and
shown enlarged. The bars say how far each model gets from painting the true mean colour to copying
the garment by the true correspondence, over all test people."""
PAIRS = """Choose a score to see how it spreads, drag over the chart to keep a range, click a person
to swipe between two models."""
CURVES = """What the models trained here learned: both remove noise alike, and one is told where
the garment lies."""
SCORES = """{pictures} held-out people, {queries} visible points. The most attended cell is that of
the head-averaged map of the block that finds most, at noise level 0.5, under attention given the
garment. Pictures are scored as generated, before the photograph is pasted back. Painting the true
mean colour into the mask would score an error of {fill}, copying by the true correspondence
{copy}. One seed of small models; docs/benchmark.md has more, with intervals."""


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
