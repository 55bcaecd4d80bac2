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
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tools.benchmark.side_by_side import Program, leave_on_sigterm, side_by_side
from tools.benchmark.synthetic_runs import STOPPED, draw_some, write

ALIGNED = "@aligned"  # in a row's options: the block that its base copies through
METRICS = (
    "share_of_the_way", "share_of_the_print", "ssim_inside", "l1_inside", "psnr_outside",
    "print_contrast", "print_orientation", "attention_pck", "attention_pck_any_layer", "true_share",
    "effective_cells", "drawn_error", "garment_mass",
)  # fmt: skip
BOUNDS = ("l1_inside_fill", "l1_inside_plain", "l1_inside_copy")
RUNS = "from tools.benchmark.synthetic_runs import *; "
SHOWN = 6  # people on the sheet


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", help="Python file with `bases` and `rows`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of every row")
    parser.add_argument(
        "--split",
        nargs="+",
        default=["val"],
        help="of scored people; the table is of the first",
    )
    parser.add_argument("--people", type=at_least(1), default=64, help="how many are scored")
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
        "--row-minutes",
        type=float,
        help="end the rows' training so long after the start; they are scored with what they have",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FOLDER",
        help="train nothing: score the weights that an earlier run (its --out) has shipped",
    )
    parser.add_argument("--commit", help="of this code, where git cannot tell")
    parser.add_argument(
        "--jobs", type=at_least(1), default=max(1, (os.cpu_count() or 2) - 2), help="runs at a time"
    )
    parser.add_argument(
        "--base-iterations", type=at_least(1), help="instead of the bases' configs'"
    )
    parser.add_argument("--iterations", type=at_least(1), help="instead of the rows' own")
    parser.add_argument(
        "--samples", type=at_least(1), help="at most so many of each training data set"
    )
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
        "test_dataloader.dataset.split": args.split[0],
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
        train, test = (config[f"{kind}_dataloader"].dataset.to_dict() for kind in ("train", "test"))
        people = [test | {"split": split} for split in args.split]
        if "box" not in part and not args.weights:
            people += train.get("datasets", [train])
        for one in people:
            plain = {key: one[key] for key in one if key != "transforms"}
            dataset = DATASETS.build(plain)
            folder = str(dataset.cache.folder)
            known = lengths[folder][1] if folder in lengths else 0
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


# 2. Bases -----------------------------------------------------------------------------------------


def train_bases(args: argparse.Namespace, bases: dict[str, dict]) -> None:
    """Train all bases side by side, then score them; those that time stops keep their averaged
    weights so far. A base with ``box`` is taken from there, with its card's scores.

    Raises:
        RuntimeError: a program failed.
        ValueError: a folder holds a base of other settings, or one is to be trained for --weights.
    """
    missing = {}
    for name, base in bases.items():
        if "box" in base:
            write(args.out / f"base_{name}.json", shipped(base))
        elif not _holds_base(args, name, base):
            missing[name] = base
    if missing and args.weights:
        raise ValueError(
            f"--weights trains nothing, and base {next(iter(missing))!r} is neither in the box nor "
            f"in {args.out}"
        )
    limit = min(60 * (args.base_minutes or float("inf")), seconds_left(args))
    _on_bases(args, missing, "train_base", args.base_iterations, time.time() + limit)
    _on_bases(args, missing, "test_base", None, float("inf"))
    for name in bases:
        facts = base_facts(args, name)
        way = f"{facts['metrics']['share_of_the_way']:.1%} of the way"
        say(args, f"base {name}: {facts['iterations']}, {way}, copies through {facts['aligned']}")


def _holds_base(args: argparse.Namespace, name: str, base: dict) -> bool:
    """Whether --out has that base already, trained as the grid and the options now say."""
    path = args.out / f"base_{name}/job.json"
    if not path.is_file():
        return False
    options = options_of(args, base, args.base_iterations)
    job, held = dict(config=base["config"], options=options), json.loads(path.read_text())
    if _trained(held) != _trained(json.loads(json.dumps(job))):
        raise ValueError(f"{path.parent} holds a base of other settings: choose another --out")
    return base_facts(args, name) is not None


def _trained(job: dict) -> dict:
    """A base's job without the people that it is scored on."""
    options = {k: v for k, v in job["options"].items() if not k.startswith("test_dataloader.")}
    return job | dict(options=options)


def _on_bases(args, bases: dict, what: str, iterations: int | None, until: float) -> None:
    programs = []
    for name, base in bases.items():
        folder = args.out / f"base_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        options = options_of(args, base, iterations)
        write(folder / "job.json", dict(config=base["config"], options=options))
        command = [sys.executable, "-c", f"{RUNS}{what}({str(folder)!r})"]
        programs.append(Program(name, command, folder / "log.txt"))
    with closing(side_by_side(programs, max(len(programs), 1), until)) as ended:
        for name, status in ended:
            if status not in (0, STOPPED):
                log = args.out / f"base_{name}/log.txt"
                tail = log.read_text().strip().splitlines()[-1:]
                raise RuntimeError(f"base {name} failed: {' '.join(tail)} ({log})")


def shipped(base: dict) -> dict:
    """What is known of a base from the box; the grid names the block that it copies through."""
    from vtonlab.zoo import card, weights_path

    known = card(base["box"])
    return dict(
        seconds=None,
        iterations="shipped",
        checkpoint=str(weights_path(base["box"])),
        aligned=base["aligned"],
        metrics=known.scores,
    )


def base_facts(args: argparse.Namespace, name: str) -> dict | None:
    """What is known of a trained and tested base."""
    path = args.out / f"base_{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


# 3. Rows ------------------------------------------------------------------------------------------


def run_rows(args: argparse.Namespace, rows: dict[str, dict]) -> Iterator[dict]:
    """Results of all rows and seeds, in the order in which they end.

    Raises:
        ValueError: a folder holds a run of other settings.
    """
    programs, known = [], []
    stop_at = float("inf") if args.row_minutes is None else args.start + 60 * args.row_minutes
    for seed in args.seeds:
        for name, row in rows.items():
            if seed not in row.get("seeds", args.seeds):
                continue
            facts = base_facts(args, row["base"])
            options = resolved(options_of(args, row, args.iterations), facts["aligned"])
            folder = args.out / "runs" / f"{safe(name)}_seed{seed}"
            job = dict(row=name, base=row["base"], seed=seed, config=row["config"], options=options)
            job |= dict(load_from=facts["checkpoint"], ship=row.get("ship"), splits=args.split)
            job |= dict(steps=row.get("steps", []), commit=args.commit)
            if args.weights:
                job |= trained_before(args.weights, name, seed)
            result = result_of(folder)
            if result and result["job"] | {"commit": None} != job | {"commit": None}:
                raise ValueError(f"{folder} holds a run of other settings: choose another --out")
            if result and "scores" in result:
                known.append(result)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / "job.json", job)
            command = [sys.executable, "-c", f"{RUNS}run_row({str(folder)!r}, float('{stop_at}'))"]
            programs.append(Program(str(folder), command, folder / "log.txt"))
    yield from known
    left = len(programs)
    until = time.time() + seconds_left(args)
    with closing(side_by_side(programs, args.jobs, until)) as ended:
        for folder, status in ended:
            result = result_of(Path(folder))
            if status == 0 and result:
                left -= 1
                yield result
            elif time.time() < until:
                left -= 1
                job = json.loads((Path(folder) / "job.json").read_text())
                yield dict(job=job, failed=f"exit status {status}, see {folder}/log.txt")
    if left:
        say(args, f"time is over: the same command goes on with the {left} runs that are left")


def trained_before(out: Path, row: str, seed: int) -> dict:
    """A job's ``weights`` and what is known of their training, from an earlier run's folder.

    Raises:
        ValueError: that run has no such row and seed, or did not ship it.
    """
    weights = out / "weights" / f"{safe(row)}_seed{seed}.safetensors"
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    found = [r for r in results if (r["job"]["row"], r["job"]["seed"]) == (row, seed)]
    if not found or not weights.is_file():
        raise ValueError(f"{out} has no weights of row {row!r}, seed {seed}: was it to `ship`?")
    facts = ("iterations", "training_seconds", "config_hash", "device")
    trained = {key: found[0][key] for key in facts}
    return dict(weights=str(weights), commit=found[0]["job"]["commit"], trained=trained)


def result_of(folder: Path) -> dict | None:
    """What a run's program wrote."""
    path = folder / "run.json"
    return json.loads(path.read_text()) if path.is_file() else None


def safe(name: str) -> str:
    """A row's name as a folder's."""
    return "".join(c if c.isalnum() or c in "=._-" else "-" for c in name)


def metrics_of(args: argparse.Namespace, result: dict, split: str | None = None) -> dict:
    """Scores of a result on a split, the first where none is named; empty where it failed."""
    return result.get("scores", {}).get(split or args.split[0], {}).get("metrics", {})


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
        done = [r for r in results if r["job"]["row"] == name and "scores" in r]
        if not done:
            continue
        iterations = " ".join(str(n) for n in sorted({r["iterations"] for r in done}))
        cells = [name, " ".join(str(r["job"]["seed"]) for r in done), iterations]
        cells += [spread([metrics_of(args, r).get(metric) for r in done]) for metric in METRICS]
        times = [r["training_seconds"] for r in done if r["training_seconds"] is not None]
        cells.append(f"{sum(times) / len(times):.0f}" if times else "")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    known = next((metrics_of(args, r) for r in results if "scores" in r), {})
    bounds = ", ".join(f"{name} {known[name]:.4f}" for name in BOUNDS if name in known)
    lines += ["", f"{args.people} people of `{args.split[0]}`; {bounds}."]
    failed = [r for r in results if "failed" in r]
    lines += [f"{r['job']['row']}, seed {r['job']['seed']} failed: {r['failed']}" for r in failed]
    for result in results:
        name = f"{result['job']['row']}, seed {result['job']['seed']}"
        for split in args.split[1:]:
            metrics = metrics_of(args, result, split)
            if metrics:
                way, part = metrics["share_of_the_way"], metrics["share_of_the_print"]
                told = f"{way:.3f} of the way, print {part:.3f}, SSIM {metrics['ssim_inside']:.3f}"
                lines.append(f"{name}, people of {split}: {told}")
        for number, metrics in result.get("steps", {}).items():
            way, ssim = metrics["share_of_the_way"], metrics["ssim_inside"]
            lines.append(f"{name}, {number} steps: {way:.3f} of the way, SSIM {ssim:.3f}")
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else ""


def spread(values: list) -> str:
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
    seed, test = args.seeds[0], f"test_{args.split[0]}"
    folders |= {name: runs / f"{safe(name)}_seed{seed}" / test for name in rows}
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
    leave_on_sigterm()
    from vtonlab.engine.cli import FINDINGS, OK

    bases, rows = read_grid(args)
    args.out.mkdir(parents=True, exist_ok=True)
    draw_people(args, [*bases.values(), *rows.values()])
    train_bases(args, bases)
    results: list[dict] = []
    for result in run_rows(args, rows):
        results.append(result)
        way = metrics_of(args, result).get("share_of_the_way")
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
