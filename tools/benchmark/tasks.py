"""Train each task of reference conditioning with and without its attention losses; write the page.

Tasks are the toy configs of configs/kontext: mask-free try-on, a worn reference, two garments,
try-off, pose transfer. Every cell (a task, with losses or without, a seed) trains in this process
from random weights, is scored on people that no choice was made on (split `bench` of a data set of
its own seed), and is kept in --out: give the same command again after a stop, and what has a result
is passed over.

Example:
    nice -n 15 python tools/benchmark/tasks.py --out work_dirs/tasks
    python tools/benchmark/tasks.py --out work_dirs/tasks --only try_off --seeds 0
    python tools/benchmark/tasks.py --page

Writes --out/<task>_<losses>_<seed>.json, docs/tables/tasks.csv (all cells so far) and, between the
marks of docs/tasks.md, the table made of it. Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import csv
import json
import re
import shutil
import statistics
import time

from tools.docs.tables import table as csv_table

TASKS = {  # name on the page, config; a role beside the garment has metrics of its own
    "mask_free": ("mask-free try-on", "configs/kontext/dit_synthetic.py"),
    "worn": ("with a worn reference", "configs/kontext/dit_synthetic_worn.py"),
    "outfit": ("two garments", "configs/kontext/dit_synthetic_outfit.py"),
    "try_off": ("try-off", "configs/kontext/dit_synthetic_try_off.py"),
    "pose": ("pose transfer", "configs/kontext/dit_synthetic_pose.py"),
}
LOSSES = ("none", "losses")
METRICS = (
    *("attention_pck", "attention_pck_2", "attention_pck_worn", "true_share"),
    *("l1_cloth", "l1_cloth_2", "l1_inside", "ssim_inside"),
)
FACTS = ("task", "losses", "seed", "iterations", "batch", "people", "seconds")
ORIGIN = ("config", "config_hash", "commit", "device")
TABLE, PAGE = Path("docs/tables/tasks.csv"), Path("docs/tasks.md")
MARKS = "<!-- tasks: begin -->", "<!-- tasks: end -->"
CELLS = re.compile(r"(<!-- table: tables/tasks.csv -->\n).*?(<!-- end -->)", re.S)
JUDGED = dict(split="bench", seed=25)  # of nothing else here


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs/tasks"))
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=at_least(1), default=120)
    parser.add_argument(
        "--people", type=at_least(1), default=64, help="that each cell is scored on"
    )
    parser.add_argument(
        "--samples", type=at_least(1), default=480, help="of each training data set"
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument(
        "--page",
        action="store_true",
        help="train nothing: write the table of the cells in --out, and the page",
    )
    parser.add_argument("--page-file", type=Path, default=PAGE)
    return parser.parse_args(argv)


def options_of(args: argparse.Namespace) -> dict:
    """What differs from a task's config: a short schedule of the same shape, and the people that
    are scored.
    """
    count = args.iterations
    return {
        "train_cfg.max_iters": count,
        "param_scheduler.0.end": count // 10,
        "param_scheduler.1.begin": count // 10,
        "param_scheduler.1.end": count,
        "train_dataloader.dataset.length": args.samples,
        "test_dataloader.dataset.length": args.people,
    } | {f"test_dataloader.dataset.{key}": value for key, value in JUDGED.items()}


def config_of(args: argparse.Namespace, task: str, losses: str):
    """The cell's config, not finished; without attention losses where there are to be none."""
    from vtonlab.engine.config.load import load_config

    config = load_config(TASKS[task][1], options_of(args))
    for name, loss in list(config.model.attention_losses.items()):
        if losses == "none":
            del config.model.attention_losses[name]
        elif "start_iter" in loss:  # as far into the training as the config has it
            share = args.iterations / 1200
            loss.start_iter = round(loss.start_iter * share)
            loss.warmup_iters = round(loss.warmup_iters * share)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.custom_hooks = [hook for hook in config.custom_hooks if hook["type"] == "EMAHook"]
    config.default_hooks.pop("pictures")
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    config.log_level = "ERROR"
    return config


def run_cell(args: argparse.Namespace, task: str, losses: str, seed: int) -> dict:
    """Train and test one cell; what is known of it."""
    import hashlib

    import torch

    from vtonlab.engine.config.load import finalize
    from vtonlab.engine.running.training import train
    from vtonlab.engine.testing.run import test

    folder = args.out / f"{task}_{losses}_{seed}"
    config = config_of(args, task, losses)
    digest = hashlib.sha256(config.pretty_text.encode()).hexdigest()[:12]
    shutil.rmtree(folder, ignore_errors=True)  # of a training that was stopped
    start = time.time()
    train(finalize(config, work_dir=str(folder), seed=seed))
    seconds = time.time() - start
    tested = finalize(config_of(args, task, losses), work_dir=str(folder), seed=seed)
    checkpoint = folder / f"iter_{args.iterations}.pth"
    metrics = test(tested, str(checkpoint), folder / "test")["metrics"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"
    facts = dict(zip(FACTS[:3], (task, losses, seed), strict=True))
    facts |= dict(iterations=args.iterations, batch=config.train_dataloader.batch_size)
    facts |= dict(people=args.people, seconds=round(seconds))
    facts |= {name: metrics[name] for name in METRICS if metrics.get(name) is not None}
    facts |= dict(config=TASKS[task][1], config_hash=digest, commit=commit(), device=device)
    return facts


def commit() -> str:
    """Of this code, with a plus where it was changed since; empty outside a repository."""
    import subprocess

    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(root)]
    found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode
    return found.stdout.strip() + ("+" if changed else "") if found.returncode == 0 else ""


# The table and the page ---------------------------------------------------------------------------


def read_cells(folder: Path) -> list[dict]:
    """The results that there are, in the order of tasks, losses and seeds."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    order = list(TASKS)
    return sorted(cells, key=lambda c: (order.index(c["task"]), c["losses"] != "none", c["seed"]))


def write_table(path: Path, cells: list[dict]) -> None:
    """All cells as CSV; a number that a task does not have is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*FACTS, *METRICS, *ORIGIN])
        for cell in cells:
            numbers = [f"{cell[name]:.4f}" if name in cell else "" for name in METRICS]
            facts = ([cell[name] for name in part] for part in (FACTS, ORIGIN))
            writer.writerow([*next(facts), *numbers, *next(facts)])


def table_of(rows: list[dict[str, str]]) -> str:
    """The page's table: mean and standard deviation over seeds."""
    heads = ["task", "losses", "seeds", "PCK", "PCK of the second", "true share", "error on cloth",
             "of the second", "error inside the mask", "SSIM"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["losses"]), []).append(row)
    for (task, losses), found in groups.items():
        cells = [TASKS[task][0], losses, " ".join(row["seed"] for row in found)]
        cells.append(spread(found, "attention_pck"))
        cells.append(spread(found, "attention_pck_2") or spread(found, "attention_pck_worn"))
        names = ("true_share", "l1_cloth", "l1_cloth_2", "l1_inside", "ssim_inside")
        cells += [spread(found, name) for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", origin_of(rows)])


def spread(rows: list[dict[str, str]], name: str) -> str:
    """Mean and deviation of a column, or nothing."""
    values = [float(row[name]) for row in rows if row[name]]
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def origin_of(rows: list[dict[str, str]]) -> str:
    """One sentence: how and where the numbers were made."""
    told = {name: ", ".join(dict.fromkeys(row[name] for row in rows)) for name in rows[0]}
    seconds = [float(row["seconds"]) for row in rows]
    configs = ", ".join(
        f"`{row['config'].rpartition('/')[2]}` {row['config_hash']} ({row['losses']})"
        for row in {row["config_hash"]: row for row in rows}.values()
    )
    return (
        f"{told['iterations']} iterations of {told['batch']}, {told['people']} people; "
        f"{told['device']}, {min(seconds):.0f} to {max(seconds):.0f} seconds a training beside "
        f"other work; commit {told['commit']}; hashes of the configs as run: {configs}."
    )


def write_page(page: Path, table: Path) -> None:
    """The table between the page's marks, and all cells below it.

    Raises:
        ValueError: a page without the marks, or a table without rows.
    """
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = page.read_text(encoding="utf-8")
    if not rows or any(text.count(mark) != 1 for mark in MARKS):
        raise ValueError(f"{page} needs {MARKS[0]} and {MARKS[1]} once, and {table} rows")
    head, rest = text.split(MARKS[0])
    tail = rest.split(MARKS[1])[1]
    cells = CELLS.sub(lambda found: f"{found[1]}\n{csv_table(table)}\n{found[2]}", tail)
    page.write_text(f"{head}{MARKS[0]}\n\n{table_of(rows)}\n\n{MARKS[1]}{cells}", encoding="utf-8")


def main() -> int:
    args = parse_args()
    if not args.page:
        import torch

        from vtonlab.engine.checkpoints.files import write_text

        torch.set_num_threads(1)
        args.out.mkdir(parents=True, exist_ok=True)
        asked = [(s, t, kind) for s in args.seeds for t in args.only for kind in LOSSES]
        for seed, task, losses in asked:  # a stop leaves every task with as many seeds
            path = args.out / f"{task}_{losses}_{seed}.json"
            if not path.is_file():
                facts = run_cell(args, task, losses, seed)
                write_text(path, json.dumps(facts, indent=1) + "\n")
                print(f"{path.stem}: PCK {facts['attention_pck']:.3f}", flush=True)
    cells = read_cells(args.out)
    if cells:
        write_table(args.table, cells)
    write_page(args.page_file, args.table)
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
