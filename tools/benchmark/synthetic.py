"""Train bases and rows of losses on rendered people, score them, and write one table.

A grid file (such as configs/_base_/benchmark/choices.py; it is run) names `bases` and `rows`: each
a config and options, each row the base that it fine-tunes, and maybe seeds of its own. The tool
draws the people, trains the bases (up to --base-minutes, side by side), finds the block that each
base copies through, and then trains and tests every row with every seed, --jobs at a time. What has
a result is passed over: give the same command again after a stop, or with more rows or seeds.

Example:
    python tools/benchmark/synthetic.py configs/_base_/benchmark/choices.py \\
        --out work_dirs/choices --seeds 0 1 2 --split val --minutes 9.5 --base-minutes 4
    python tools/benchmark/synthetic.py configs/_base_/benchmark/rows.py --out work_dirs/bench \\
        --seeds 0 1 2 --split bench --row mine dit configs/my/dit.py

Writes into --out: base_<name>.safetensors and .json (float16), results.json, table.md, sheet.png
(people in rows; what wears, the garment, each row's drawing with the first seed, the truth) and
weights/<row>.safetensors of rows with `ship`. Exit codes: 0 done, 1 a run failed or time ran out
(the others are done), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
import os
import runpy
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ALIGNED = "@aligned"  # in a row's options: the block that its base copies through
METRICS = (
    "share_of_the_way", "share_of_the_print", "ssim_inside", "l1_inside", "psnr_outside",
    "print_contrast", "print_orientation", "attention_pck", "attention_pck_any_layer", "true_share",
    "effective_cells", "drawn_error", "garment_mass",
)  # fmt: skip
BOUNDS = ("l1_inside_fill", "l1_inside_plain", "l1_inside_copy")
PAIRED = ("l1_inside", "ssim_inside")  # noted for every pair
TRAIN_BASE = (
    "import sys; from tools.benchmark.synthetic import train_base; train_base(*sys.argv[1:])"
)
SHOWN = 6  # people on the sheet


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", help="Python file with `bases` and `rows`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of every row")
    parser.add_argument("--split", default="val", help="of the people that are scored")
    parser.add_argument("--people", type=int, default=64, help="how many are scored")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows alone")
    parser.add_argument(
        "--row",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "BASE"),
        help="one more row: its name, its base in the grid, its config, and KEY=VALUE options",
    )
    parser.add_argument("--minutes", type=float, help="stop everything after so long")
    parser.add_argument(
        "--base-minutes", type=float, help="stop the bases after so long; they keep what they have"
    )
    parser.add_argument(
        "--jobs", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="runs at a time"
    )
    parser.add_argument("--base-iterations", type=int, help="instead of the bases' configs'")
    parser.add_argument("--iterations", type=int, help="instead of the rows' own")
    parser.add_argument("--samples", type=int, help="at most so many of each training data set")
    return parser.parse_args(argv)


def read_grid(args: argparse.Namespace) -> tuple[dict[str, dict], dict[str, dict]]:
    """Bases and rows, each with ``config`` and ``options``; rows in order, with their ``base``.

    Raises:
        ValueError: a row without a base of the grid, or an unknown name.
    """
    from tools.benchmark.ablate import value_of

    grid = runpy.run_path(args.grid)
    bases, rows = grid["bases"], dict(grid["rows"])
    for name, *rest in args.row:
        if len(rest) < 2:
            raise ValueError(f"--row {name}: give its base and its config, then KEY=VALUE options")
        options = dict(option.partition("=")[::2] for option in rest[2:])
        options = {key: value_of(text) for key, text in options.items()}
        rows[name] = dict(base=rest[0], config=rest[1], options=options)
    unknown = sorted(set(args.only or []) - set(rows))
    if unknown:
        raise ValueError(f"--only {unknown[0]}: the rows are {', '.join(rows)}")
    rows = {name: row for name, row in rows.items() if not args.only or name in args.only}
    for name, row in rows.items():
        if row["base"] not in bases:
            raise ValueError(f"row {name!r}: no base {row['base']!r}; there are {', '.join(bases)}")
    used = {row["base"] for row in rows.values()}
    return {name: base for name, base in bases.items() if name in used}, rows


# What all stages share ----------------------------------------------------------------------------


def options_of(args: argparse.Namespace, part: dict, iterations: int | None) -> dict[str, Any]:
    """A base's or row's options, with the people that are scored, the iterations (the rate falls to
    its end by then) and the largest number of samples.
    """
    from vtonlab.engine.config.load import load_config

    options = {
        "test_dataloader.dataset.split": args.split,
        "test_dataloader.dataset.length": args.people,
    } | dict(part.get("options", {}))
    config = load_config(part["config"], options)
    if iterations is not None:  # a shorter schedule of the same shape: warm-up, then decay
        warm = min(config.param_scheduler[1].begin, max(iterations // 4, 1))
        options |= {"train_cfg.max_iters": iterations, "param_scheduler.1.end": iterations}
        options |= {"param_scheduler.0.end": warm, "param_scheduler.1.begin": warm}
    if args.samples is not None:
        data = config.train_dataloader.dataset
        places = [f"datasets.{n}." for n in range(len(data.get("datasets", [])))] or [""]
        options |= {f"train_dataloader.dataset.{place}length": args.samples for place in places}
    return options


def resolved(options: dict, aligned: str) -> dict:
    """Options with the base's block in place of ``@aligned``."""
    return json.loads(json.dumps(options).replace(ALIGNED, aligned))


def seconds_left(args: argparse.Namespace) -> float:
    """Until --minutes are over."""
    return float("inf") if args.minutes is None else args.start + 60 * args.minutes - time.time()


def say(args: argparse.Namespace, text: str) -> None:
    """One line with the seconds since the start."""
    print(f"[{time.time() - args.start:5.0f} s] {text}", flush=True)


# 1. People ----------------------------------------------------------------------------------------


def draw_people(args: argparse.Namespace, parts: list[dict]) -> None:
    """Render what all bases and rows train and are scored on into the caches that runs share."""
    from vtonlab.engine.config.load import load_config
    from vtonlab.registry import DATASETS

    lengths: dict[str, tuple[dict, int]] = {}
    for part in parts:
        config = load_config(part["config"], options_of(args, part, None))
        for loader in ("train_dataloader", "test_dataloader"):
            settings = config[loader].dataset.to_dict()
            for one in settings.get("datasets", [settings]):
                plain = {key: one[key] for key in one if key != "transforms"}
                dataset = DATASETS.build(plain)
                folder, known = str(dataset.cache.folder), 0
                if folder in lengths:
                    known = lengths[folder][1]
                lengths[folder] = (plain, max(known, len(dataset)))
    work = []
    for folder, (settings, length) in lengths.items():
        missing = [n for n in range(length) if not _drawn(folder, n)]
        work += [
            (settings | {"length": length}, missing[n : n + 8]) for n in range(0, len(missing), 8)
        ]
    say(args, f"drawing {sum(len(part[1]) for part in work)} people")
    with get_context("spawn").Pool(min(os.cpu_count() or 1, max(len(work), 1))) as pool:
        for _ in pool.imap_unordered(draw_some, work):
            if seconds_left(args) < 0:
                raise TimeoutError("time ran out while people were drawn: give the command again")
    say(args, "people are drawn")


def _drawn(folder: str, index: int) -> bool:
    return (Path(folder) / f"{index // 1000:04d}" / f"{index:07d}.bin").is_file()


def draw_some(part: tuple[dict, list[int]]) -> None:
    """Render some samples of a data set into its cache."""
    import torch

    from vtonlab.registry import DATASETS

    torch.set_num_threads(1)
    dataset = DATASETS.build(part[0])
    for index in part[1]:
        dataset[index]


# 2. Bases -----------------------------------------------------------------------------------------


def train_bases(args: argparse.Namespace, bases: dict[str, dict]) -> None:
    """Train all bases side by side; those that time stops keep their averaged weights so far."""
    running = {}
    for name, base in bases.items():
        folder = args.out / f"base_{name}"
        if base_facts(args, name) is not None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        settings = options_of(args, base, args.base_iterations)
        command = [sys.executable, "-c", TRAIN_BASE]
        command += [base["config"], json.dumps(settings), str(folder)]
        with open(folder / "log.txt", "a") as log:
            running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    limit = min(60 * (args.base_minutes or float("inf")), seconds_left(args))
    until = time.time() + limit
    while any(process.poll() is None for process in running.values()) and time.time() < until:
        time.sleep(0.5)
    for process in running.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # saves, then exits with 143
    for name, process in running.items():
        if process.wait() not in (0, 143):
            tail = (args.out / f"base_{name}/log.txt").read_text().strip().splitlines()[-1:]
            raise RuntimeError(f"base {name} failed: {' '.join(tail)} (base_{name}/log.txt)")


def train_base(config_file: str, options: str, folder: str) -> None:
    """One base in a process of its own: train, or go on training."""
    from vtonlab.engine.checkpoints.files import find_latest
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.running.training import train

    quick_arithmetic()
    config = finalize(load_config(config_file, json.loads(options)), work_dir=folder, seed=0)
    if find_latest(Path(folder)) is not None:
        config.resume, config.load_from = True, None
    train(config)


def quick_arithmetic() -> None:
    """TF32 matrix products where there is a GPU that has them."""
    import torch

    torch.set_float32_matmul_precision("high")


def base_facts(args: argparse.Namespace, name: str) -> dict | None:
    """What is known of a trained and tested base."""
    path = args.out / f"base_{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def test_base(args: argparse.Namespace, name: str, base: dict) -> dict:
    """Score a base on a try-on, write its weights in float16, and find its aligned block, in a
    process of its own.
    """
    from vtonlab.engine.checkpoints.files import find_latest, read_checkpoint
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.testing.run import test

    folder = args.out / f"base_{name}"
    quick_arithmetic()
    into_log(folder)
    checkpoint = find_latest(folder)
    if checkpoint is None:
        raise RuntimeError(f"base {name} was stopped before its first step: give it more time")
    config = finalize(
        load_config(base["config"], options_of(args, base, None)), work_dir=str(folder)
    )
    metrics = test(config, str(checkpoint), folder / "test")["metrics"]
    write_half(checkpoint, args.out / f"base_{name}.safetensors")
    found = {key: metrics[key] for key in metrics if key.startswith("attention_pck/")}
    facts = dict(
        seconds=seconds_of(folder),
        iterations=read_checkpoint(checkpoint)["meta"]["iter"],
        checkpoint=str(checkpoint),
        aligned=max(found, key=lambda key: found[key]).split("/")[1],
        metrics=metrics,
    )
    (args.out / f"base_{name}.json").write_text(json.dumps(facts, indent=2, default=float) + "\n")
    return facts


def seconds_of(folder: Path) -> float | None:
    """What the last iterations of a training took each, as it logged them."""
    for file in sorted(folder.glob("*/vis_data/scalars.json"), reverse=True):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        times = [row["time"] for row in rows if "loss" in row and "time" in row]
        if times:
            return times[-1]
    return None


def into_log(folder: Path) -> None:
    """From here on, what this process prints goes into ``log.txt`` of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def write_half(checkpoint: Path, path: Path) -> None:
    """A checkpoint's (averaged) weights as float16 safetensors."""
    from vtonlab.engine.checkpoints.files import read_checkpoint, save_safetensors

    found = read_checkpoint(checkpoint)
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in found["state_dict"].items()
    }
    facts = {"facts": found["meta"]["facts"], "iter": found["meta"]["iter"]}
    save_safetensors(half, path, facts | {"averaged": "ema_state_dict" in found})


# 3. Rows ------------------------------------------------------------------------------------------


def run_rows(args: argparse.Namespace, rows: dict[str, dict]) -> Iterator[dict]:
    """Results of all rows and seeds, in the order in which they end."""
    wanted = []
    for seed in args.seeds:
        for name, row in rows.items():
            if seed not in row.get("seeds", args.seeds):
                continue
            facts = base_facts(args, row["base"])
            options = resolved(options_of(args, row, args.iterations), facts["aligned"])
            folder = args.out / "runs" / f"{safe(name)}_seed{seed}"
            job = dict(row=name, base=row["base"], seed=seed, config=row["config"], options=options)
            job |= dict(folder=str(folder), load_from=facts["checkpoint"], ship=row.get("ship"))
            job |= dict(steps=row.get("steps", []))
            written = folder / "run.json"
            known = json.loads(written.read_text()) if written.is_file() else None
            if known and known["job"] != job:
                raise ValueError(f"{folder} holds a run of other settings: choose another --out")
            if known and "metrics" in known:
                yield known
            else:
                wanted.append(job)
    pool = ProcessPoolExecutor(min(args.jobs, max(len(wanted), 1)), get_context("spawn"))
    futures = [pool.submit(run_one, job) for job in wanted]
    try:
        for future in as_completed(futures, timeout=min(seconds_left(args), 1e6)):
            yield future.result()
    except TimeoutError:
        say(args, "time is over: the runs that are left are resumed by the same command")
    finally:
        for process in list(pool._processes.values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


def safe(name: str) -> str:
    """A row's name as a folder's."""
    return "".join(c if c.isalnum() or c in "=._-" else "-" for c in name)


def run_one(job: dict) -> dict:
    """Train and test one row with one seed; what failed says why."""
    import torch

    from vtonlab.engine.cli import sentence

    torch.set_num_threads(1)
    quick_arithmetic()
    start, folder = time.time(), Path(job["folder"])
    into_log(folder)
    try:
        result = _run(job, folder)
    except Exception as error:
        result = {"failed": f"{type(error).__name__}: {sentence(error)}"}
    result = dict(job=job, seconds=time.time() - start) | result
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(result, indent=2, default=float) + "\n")
    return result


def _run(job: dict, folder: Path) -> dict:
    from vtonlab.engine.checkpoints.files import find_latest
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.running.training import train
    from vtonlab.engine.testing.run import test
    from vtonlab.evaluation.results import read_results

    def config():
        made = load_config(job["config"], job["options"])
        made.load_from = job["load_from"]
        made.val_dataloader = made.val_cfg = made.val_evaluator = None
        return finalize(made, work_dir=str(folder), seed=job["seed"])

    training = config()
    latest, start = find_latest(folder), time.time()
    done = 0 if latest is None else int(latest.stem.split("_")[1])
    if done < training.train_cfg.max_iters:
        if done:
            training.resume, training.load_from = True, None
        train(training)
    trained = time.time() - start
    checkpoint = find_latest(folder)
    metrics = test(config(), str(checkpoint), folder / "test")["metrics"]
    steps = {}
    for number in job["steps"]:
        sampled = config()
        sampled.model.sampler.num_steps = number
        steps[number] = test(sampled, str(checkpoint), folder / f"steps_{number}")["metrics"]
    if job["ship"]:
        weights = folder.parents[1] / "weights"
        weights.mkdir(exist_ok=True)
        write_half(checkpoint, weights / f"{folder.name}.safetensors")
    pairs = {
        name: {str(row["id"]): float(row[name]) for row in read_results(folder / "test").rows}
        for name in PAIRED
    }
    return dict(metrics=metrics, steps=steps, pairs=pairs, training_seconds=trained)


# 4. What comes of it ------------------------------------------------------------------------------


def table(args: argparse.Namespace, bases: dict, rows: dict, results: list[dict]) -> str:
    """Markdown: bases alone, then rows with mean and spread over seeds, then what failed."""
    head = ["row", "seeds", "iterations", *METRICS, "seconds"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name in bases:
        facts = base_facts(args, name)
        cells = [f"base {name} alone (copies through {facts['aligned']})", "0", facts["iterations"]]
        cells += [_number(facts["metrics"].get(metric)) for metric in METRICS]
        lines.append(f"| {' | '.join(map(str, cells))} | |")
    for name in rows:
        done = [r for r in results if r["job"]["row"] == name and "metrics" in r]
        if not done:
            continue
        iterations = done[0]["job"]["options"].get("train_cfg.max_iters", "")
        cells = [name, " ".join(str(r["job"]["seed"]) for r in done), iterations]
        cells += [_spread([r["metrics"].get(metric) for r in done]) for metric in METRICS]
        cells.append(f"{sum(r['training_seconds'] for r in done) / len(done):.0f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    known = next((r["metrics"] for r in results if "metrics" in r), {})
    bounds = ", ".join(f"{name} {known[name]:.4f}" for name in BOUNDS if name in known)
    lines += ["", f"{args.people} people of `{args.split}`; {bounds}."]
    failed = [r for r in results if "failed" in r]
    lines += [f"{r['job']['row']}, seed {r['job']['seed']} failed: {r['failed']}" for r in failed]
    for result in results:
        name = f"{result['job']['row']}, seed {result['job']['seed']}"
        for number, metrics in result.get("steps", {}).items():
            way, ssim = metrics["share_of_the_way"], metrics["ssim_inside"]
            lines.append(f"{name}, {number} steps: {way:.3f} of the way, SSIM {ssim:.3f}")
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else ""


def _spread(values: list) -> str:
    import statistics

    values = [value for value in values if isinstance(value, int | float)]
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def draw_sheet(
    args: argparse.Namespace, bases: dict, rows: dict, path: Path, zoom: int = 2
) -> None:
    """One line for each of the first people: what is worn by whom in every row, then the truth."""
    import cv2
    import numpy as np

    from vtonlab.engine.config.load import load_config
    from vtonlab.registry import DATASETS

    first = next(iter(rows.values()))
    settings = load_config(first["config"], options_of(args, first, None)).test_dataloader.dataset
    dataset = DATASETS.build(settings.to_dict())
    folders = {f"base {name}": args.out / f"base_{name}" / "test" for name in bases}
    runs = args.out / "runs"
    folders |= {name: runs / f"{safe(name)}_seed{args.seeds[0]}" / "test" for name in rows}
    lines = []
    for index in range(min(SHOWN, args.people)):
        sample = dataset[index]
        line = [sample["agnostic"], sample["garment"]]
        for folder in folders.values():
            found = sorted((folder / "pictures").glob(f"{sample['id']}*.png"))
            picture = cv2.imread(str(found[0]))[..., ::-1] if found else sample["agnostic"] * 0
            line.append(picture)
        lines.append(np.concatenate([*line, sample["person"]], 1))
    sheet = np.concatenate(lines).repeat(2, 0).repeat(2, 1)
    bar = np.full((18, sheet.shape[1], 3), 255, np.uint8)
    width = sheet.shape[1] // (len(folders) + 3)
    for place, name in enumerate(["person", "garment", *folders, "truth"]):
        cv2.putText(bar, name[:26], (place * width + 2, 13), 0, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), np.concatenate([bar, sheet])[..., ::-1])


def main() -> int:
    args = parse_args()
    args.start = time.time()
    from vtonlab.engine.cli import FINDINGS, OK

    bases, rows = read_grid(args)
    args.out.mkdir(parents=True, exist_ok=True)
    draw_people(args, [*bases.values(), *rows.values()])
    train_bases(args, bases)
    untested = {n: base for n, base in bases.items() if base_facts(args, n) is None}
    with ProcessPoolExecutor(max(len(untested), 1), get_context("spawn")) as pool:
        futures = [pool.submit(test_base, args, name, base) for name, base in untested.items()]
        for name, future in zip(untested, futures, strict=True):
            facts = future.result()
            way = facts["metrics"]["share_of_the_way"]
            say(args, f"base {name}: {facts['iterations']} iterations of {facts['seconds']} s, "
                f"{way:.1%} of the way, copies through {facts['aligned']}")  # fmt: skip
    results: list[dict] = []
    for result in run_rows(args, rows):
        results.append(result)
        way = result.get("metrics", {}).get("share_of_the_way")
        told = result.get("failed") or f"{way:.1%} of the way"
        say(args, f"{result['job']['row']}, seed {result['job']['seed']}: {told}")
    results.sort(key=lambda r: (list(rows).index(r["job"]["row"]), r["job"]["seed"]))
    (args.out / "results.json").write_text(json.dumps(results, indent=1, default=float) + "\n")
    text = table(args, bases, rows, results)
    (args.out / "table.md").write_text(text)
    draw_sheet(args, bases, rows, args.out / "sheet.png")
    print(text)
    seeds = [set(args.seeds) & set(row.get("seeds", args.seeds)) for row in rows.values()]
    whole = len(results) == sum(map(len, seeds))
    return OK if whole and not any("failed" in result for result in results) else FINDINGS


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
