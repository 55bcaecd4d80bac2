"""Write docs/benchmark.md from what tools/benchmark/synthetic.py measured.

The page has parts, kept with their numbers in docs/tables/synthetic.json; --add puts one there, or
in place of the part of that title, with --extend into it. Differences from the row `none` are
paired by person and seed; their 95 % intervals draw people and seeds anew 2 000 times.

Example:
    python tools/benchmark/synthetic_page.py --add "CORAL, equal steps" work_dirs/bench
    python tools/benchmark/synthetic_page.py               # the page again from what is kept

Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT, PAGE = ROOT / "docs/tables/synthetic.json", ROOT / "docs/benchmark.md"
NONE = "none"
SHOWN = {
    "share_of_the_print": "print", "ssim_inside": "SSIM", "attention_pck": "PCK",
    "true_share": "true share",
}  # fmt: skip
BOUNDS = ("l1_inside_fill", "l1_inside_copy")
BACKBONES = {
    "Full3DAttentionConditioner": "joint DiT",
    "SpatialConcatConditioner/unet": "reference UNet",
    "ZeroCrossAttentionConditioner": "zero cross-attention UNet",
    "SpatialConcatConditioner/self": "one UNet, person above garment",
}
LOSSES = {
    "": "none",
    "AttentionEntropyLoss, CorrespondenceDistillationLoss": "CORAL's two",
    "CorrespondenceDistillationLoss": "CORAL's distillation alone",
    "KeypointAttentionLoss": "keypoints",
    "AttentionFlowLoss": "flow",
    "AttentionTVLoss": "TV",
    "CorrelationRegularizationLoss": "correlation",
}
LEAD = """# The synthetic benchmark

Where an idea for try-on is tried in minutes: rendered people with bold prints, 128x96 pixels,
whose correspondence is known exactly. Every row fine-tunes the shipped base of its backbone
(`configs/bases`: they inpaint with a reference picture, and have never seen a shop picture worn)
and is scored on people of `bench`, on whom nothing was chosen; choices were made on `val`.

**Share of the way**: 0 is the true mean colour of the mask, 1 is copying 4x4 patches of the
garment to where the truth says (both computed for these very people). *Print* is the same on the
printed cloth alone, *PCK* asks whether attention's strongest cell is the right one, *true share*
how much of the garment's attention lies on the true cells. Pictures are sampled in one step. Mean
and standard deviation are over seeds; *against none* is in points of the way, with a 95 %
interval of a paired bootstrap over people and seeds (of one seed: over people alone, so it knows
nothing of how much another seed would differ; two seeds say little of it).

A row of your own, on the same base and people (give the same command again after a stop):

<!-- needs: a config of your own -->
```sh
python tools/benchmark/synthetic.py configs/_base_/benchmark/unet.py --out work_dirs/bench \\
    --split bench --row mine unet configs/my/unet.py
python tools/benchmark/synthetic_page.py --add "Mine" work_dirs/bench
```
"""
GLANCE = """## At a glance

Points of the way that each loss gains over `none` beside it (its own share in the first row), of
the part below that compares most losses on that backbone, all for equally many iterations.
"""
UNEQUAL = """\
**Not equally many iterations** ({counts}): a difference between these rows is also one of how
long each was trained. Don't read it as if the losses alone made it.
"""
NOT_HERE = """\
Not begun: other losses than CORAL's on CatVTON's canvas; a second seed of what was trained for
long. 3D-GCL's ablations, of three seeds too, are in configs/gcl3d."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--add", nargs=2, metavar=("TITLE", "FOLDER"), help="--out of tools/benchmark/synthetic.py"
    )
    parser.add_argument(
        "--extend", action="store_true", help="--add keeps the runs that the part has besides"
    )
    parser.add_argument("--split", default="bench", help="of people, of --add")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows of --add, so ordered")
    parser.add_argument(
        "--note", help="a paragraph under the title of --add (left out: the one it has)"
    )
    parser.add_argument("--kept", type=Path, default=KEPT, help="file of the parts")
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args(argv)


# What is kept -------------------------------------------------------------------------------------


def part_of(args: argparse.Namespace) -> dict:
    """What --add names, without what the page does not need.

    Raises:
        ValueError: no scores on that split.
    """
    title, folder = args.add
    rows = [r for r in results_of(Path(folder)) if args.split in r.get("scores", {})]
    rows = [r for r in rows if not args.only or r["job"]["row"] in args.only]
    if not rows:
        raise ValueError(f"{folder}/results.json has no scores on people of {args.split!r}")
    if args.only:
        rows.sort(key=lambda r: args.only.index(r["job"]["row"]))
    runs = [kept(r, args.split) for r in rows]
    return dict(title=title, note=args.note or "", split=args.split, runs=runs)


def put(parts: list[dict], new: dict, note: str | None, extend: bool) -> None:
    """Place a part among those that are kept: the last, or where its title stands already.

    Raises:
        ValueError: ``extend`` finds no part of that title, or one of other people.
    """
    place = next((n for n, part in enumerate(parts) if part["title"] == new["title"]), None)
    old = None if place is None else parts[place]
    if extend and (old is None or old["split"] != new["split"]):
        title, split = new["title"], new["split"]
        raise ValueError(f"--extend: no part {title!r} on people of {split!r}: leave it out")
    if old is None:
        parts.append(new)
        return
    parts[place] = new | dict(note=old["note"] if note is None else note)
    if extend:
        fresh = {(run["row"], run["seed"]) for run in new["runs"]}
        runs = [run for run in old["runs"] if (run["row"], run["seed"]) not in fresh] + new["runs"]
        order = list(dict.fromkeys(run["row"] for run in runs))
        order = [NONE, *order] if NONE in order else order
        parts[place]["runs"] = sorted(runs, key=lambda run: (order.index(run["row"]), run["seed"]))


def results_of(out: Path) -> list[dict]:
    """What the last command left, then runs of earlier ones with other rows or seeds."""
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    known = [(r["job"]["row"], r["job"]["seed"]) for r in results]
    for path in sorted(out.glob("runs/*/run.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if (run["job"]["row"], run["job"]["seed"]) not in known:
            results.append(run)
    order = list(dict.fromkeys(r["job"]["row"] for r in results))
    return sorted(results, key=lambda r: (order.index(r["job"]["row"]), r["job"]["seed"]))


def kept(result: dict, split: str) -> dict:
    """One run: what it is, its scores and its error on each person."""
    job, scores = result["job"], result["scores"][split]
    names = ("share_of_the_way", *SHOWN, *BOUNDS)
    people = sorted(scores["pairs"]["l1_inside"].items())
    return dict(
        row=job["row"],
        seed=job["seed"],
        iterations=result["iterations"],
        seconds=result["training_seconds"],
        batch=batch_of(job),
        kind=kind_of(job),
        config=job["config"],
        hash=result["config_hash"],
        commit=job["commit"],
        device=result["device"],
        metrics={n: round(scores["metrics"][n], 5) for n in names if n in scores["metrics"]},
        people=[round(error, 5) for _, error in people],
    )


def batch_of(job: dict) -> int:
    """People in an iteration."""
    from vtonlab.engine.config.load import load_config

    return load_config(job["config"], job["options"]).train_dataloader.batch_size


def kind_of(job: dict) -> list[str]:
    """Backbone and losses, by their names on the page."""
    from vtonlab.engine.config.load import load_config

    model = load_config(job["config"], job["options"]).model
    losses = ", ".join(sorted(loss.type for loss in model.attention_losses.values()))
    reference = model.conditioner.get("reference")
    conditioner = model.conditioner.type + (f"/{reference}" if reference else "")
    return [BACKBONES.get(conditioner, conditioner), LOSSES.get(losses, losses)]


# What is shown ------------------------------------------------------------------------------------


def page(parts: list[dict]) -> str:
    """The whole page."""
    return "\n".join([LEAD, glance(parts), *map(section, parts), coverage(parts)])


def glance(parts: list[dict]) -> str:
    """What each loss gains on each backbone, from the part on `bench` that compares most losses on
    it; rows whose name has a comma are controls or recipes of their own and stand below alone.
    """
    widest: dict[str, tuple[int, dict]] = {}
    for part in (part for part in parts if part["split"] == "bench"):
        rows = {name: runs for name, runs in rows_of(part).items() if "," not in name}
        rows = {} if unequal(rows) else rows
        for backbone in {runs[0]["kind"][0] for runs in rows.values()}:
            here = {n: runs for n, runs in rows.items() if runs[0]["kind"][0] == backbone}
            size = sum(map(len, here.values()))
            if NONE in here and size > widest.get(backbone, (0,))[0]:
                widest[backbone] = size, here
    if not widest:
        return ""
    backbones = [name for name in BACKBONES.values() if name in widest]
    others = {r[0]["kind"][1] for _, rows in widest.values() for r in rows.values()}
    losses = [*LOSSES.values(), *sorted(others - set(LOSSES.values()))]
    lines = [GLANCE, f"| losses | {' | '.join(backbones)} |", "| --- |" + " --- |" * len(backbones)]
    for loss in losses:
        cells = []
        for _, rows in (widest[backbone] for backbone in backbones):
            runs = next((r for r in rows.values() if r[0]["kind"][1] == loss), None)
            cells.append("" if runs is None else gain(runs, rows[NONE]))
        lines.append(f"| {loss} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def gain(runs: list[dict], none: list[dict]) -> str:
    """A cell of the glance: the difference from ``none``, or what ``none`` itself reaches."""
    from tools.benchmark.synthetic import spread

    told = (
        spread([run["metrics"]["share_of_the_way"] for run in runs])
        if runs is none
        else difference(runs, none)
    )
    return f"{told}, {len(runs)} seed{'s' if len(runs) > 1 else ''}"


def rows_of(part: dict) -> dict[str, list[dict]]:
    """The runs of each row."""
    rows: dict[str, list[dict]] = {}
    for run in part["runs"]:
        rows.setdefault(run["row"], []).append(run)
    return rows


def unequal(rows: dict[str, list[dict]]) -> bool:
    """Whether some runs were trained clearly longer than others."""
    counts = [run["iterations"] for runs in rows.values() for run in runs]
    return bool(counts) and min(counts) < 0.95 * max(counts)


def section(part: dict) -> str:
    """Title, note and table of a part."""
    rows = rows_of(part)
    lines = [f"## {part['title']}", ""]
    lines += [part["note"], ""] if part["note"] else []
    if unequal(rows):
        counts = {name: [str(run["iterations"]) for run in runs] for name, runs in rows.items()}
        told = "; ".join(f"{name}: {', '.join(each)}" for name, each in counts.items())
        lines.append(UNEQUAL.format(counts=told))
    bounds = part["runs"][0]["metrics"]
    lines.append(
        f"{len(part['runs'][0]['people'])} people of `{part['split']}`; error of one colour "
        f"{bounds[BOUNDS[0]]:.4f}, of copying by the truth {bounds[BOUNDS[1]]:.4f}.\n"
    )
    heads = ["row", "seeds", "iterations", "share of the way", "against none", *SHOWN.values()]
    heads += ["seconds", "config", "commit, device"]
    lines += [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    lines += [line(name, runs, none_beside(name, rows)) for name, runs in rows.items()]
    return "\n".join(lines) + "\n"


def none_beside(name: str, rows: dict[str, list[dict]]) -> list[dict] | None:
    """The runs without losses that a row is compared with: ``none, longer`` for ``CORAL, longer``
    and for ``CORAL, one head, longer``, where there is one.
    """
    words = name.split(", ")
    twins = [", ".join([NONE, *words[start:]]) for start in range(1, len(words))]
    return next((rows[twin] for twin in twins if twin in rows and twin != name), rows.get(NONE))


def line(name: str, runs: list[dict], none: list[dict] | None) -> str:
    """A row of a table: one row of the grid."""
    from tools.benchmark.synthetic import spread

    cells = [name, " ".join(str(run["seed"]) for run in runs)]
    cells.append(f"{_each(runs, 'iterations')} x {_each(runs, 'batch')}")
    cells.append(spread([run["metrics"]["share_of_the_way"] for run in runs]))
    cells.append("" if none is None or name == NONE else difference(runs, none))
    cells += [spread([run["metrics"].get(key) for run in runs]) for key in SHOWN]
    times = [run["seconds"] for run in runs if run["seconds"] is not None]
    cells.append(f"{sum(times) / len(times):.0f}" if times else "")
    cells.append(f"`{_each(runs, 'config')}` {_each(runs, 'hash')}")
    cells.append(f"{_each(runs, 'commit')}, {_each(runs, 'device')}")
    return f"| {' | '.join(cells)} |"


def _each(runs: list[dict], key: str) -> str:
    return " ".join(dict.fromkeys(str(run[key]) for run in runs))


def difference(runs: list[dict], none: list[dict]) -> str:
    """Points of the way above ``none`` and their interval, over the seeds that both have."""
    from vtonlab.evaluation.statistics import paired_interval

    theirs = {run["seed"]: run for run in none}
    pairs = [(run, theirs[run["seed"]]) for run in runs if run["seed"] in theirs]
    if not pairs:
        return "no seed in common"
    bounds = pairs[0][0]["metrics"]
    scale = 100 / (bounds[BOUNDS[0]] - bounds[BOUNDS[1]])
    table = [
        [scale * (b - a) for a, b in zip(ours["people"], other["people"], strict=True)]
        for ours, other in pairs
    ]
    mean = sum(map(sum, table)) / sum(map(len, table))
    low, high = paired_interval(table)
    few = (
        "" if len(pairs) == len(runs) else f" (seeds {' '.join(str(a['seed']) for a, _ in pairs)})"
    )
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f}){few}"


def coverage(parts: list[dict]) -> str:
    """Which losses ran on which backbones with how many seeds on `bench`, and what did not."""
    seeds: dict[tuple[str, str], set] = {}
    for part in parts:
        for run in part["runs"]:
            if part["split"] == "bench":
                seeds.setdefault(tuple(run["kind"]), set()).add(run["seed"])
    columns = [*BACKBONES.values(), *sorted({b for b, _ in seeds} - set(BACKBONES.values()))]
    rows = [*LOSSES.values(), *sorted({loss for _, loss in seeds} - set(LOSSES.values()))]
    lines = ["## What was run, and what was not", ""]
    lines += ["Seeds, scored on people of `bench`; an empty cell was never trained.", ""]
    lines += [f"| losses | {' | '.join(columns)} |", "|" + " --- |" * (len(columns) + 1)]
    for loss in rows:
        counts = [len(seeds.get((backbone, loss), ())) or "" for backbone in columns]
        lines.append(f"| {loss} | {' | '.join(map(str, counts))} |")
    lines += ["", NOT_HERE, "", "This page is written by `tools/benchmark/synthetic_page.py`."]
    return "\n".join(lines) + "\n"


def main() -> int:
    args = parse_args()
    parts = json.loads(args.kept.read_text(encoding="utf-8")) if args.kept.is_file() else []
    if args.add:
        put(parts, part_of(args), args.note, args.extend)
        args.kept.write_text(json.dumps(parts, indent=None).replace('{"row"', '\n{"row"') + "\n")
    args.page.write_text(page(parts), encoding="utf-8")
    print(f"{args.page}: {len(parts)} parts, {sum(len(part['runs']) for part in parts)} runs")
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
