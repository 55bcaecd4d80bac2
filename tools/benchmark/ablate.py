"""Train and test a config again and again with one setting changed, and tell what that does.

Each `--vary KEY VALUE...` changes one key, all others as in the config (the key `config` stands for
the file: other configs are compared with it); `--product` tries every combination instead; each of
them with every seed of `--seeds`. A run is trained, tested and written into a folder named after
its changes. Runs that have a result are passed over and one that was cut short is resumed: give the
same command again after a stop, or with more values or seeds. A run that fails (out of memory, a
number that is not finite) is named and the others go on. In values, `{seed}` and `{config}` stand
for the run's seed and the name of its config file: a second stage finds its own first stage so.

Example:
    python tools/benchmark/ablate.py configs/leffa/unet_synthetic.py --out work_dirs/figure5 \\
        --vary model.attention_losses.flow.weight 0 0.1 1 10 \\
        --vary model.attention_losses.flow.t_max 250 500 1000 --seeds 0 1 2 \\
        --metrics attention_pck l1_inside --cfg-options train_cfg.max_iters=400
    python tools/benchmark/ablate.py configs/gcl3d/warp_synthetic_neither.py --out work_dirs/abl \\
        --vary config configs/gcl3d/warp_synthetic_correlation.py configs/gcl3d/warp_synthetic.py \\
        --metrics end_point_error warp_miou

Writes `table.md`, `results.json` and `plot.png` into `--out`. The table has one row a change: mean
and standard deviation over seeds, and the difference from the unchanged config, seed by seed and
pair by pair, with its 95 % interval (bootstrap over seeds and test pairs). Exit codes: 0 done, 1 a
run failed (the others are done), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import ast
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Change = dict[str, Any]  # config key -> value; empty: the config as it is
SEEDS = ("seed", "model.seed", "randomness", "randomness.seed")  # what `--seeds` sets


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="the config that is varied")
    parser.add_argument(
        "--vary",
        nargs="+",
        action="append",
        required=True,
        metavar=("KEY", "VALUE"),
        help="a key and the values to give it, as Python writes them; repeat for more keys",
    )
    parser.add_argument("--product", action="store_true", help="all combinations of all keys")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of each change")
    parser.add_argument("--metrics", nargs="+", default=["attention_pck", "l1_inside"])
    parser.add_argument("--out", type=Path, required=True)
    add_cfg_options(parser)
    return parse(parser, argv)


def value_of(text: str) -> Any:
    """What Python reads, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def changes_of(vary: list[list[str]], product: bool) -> list[Change]:
    """The changes to try, none first.

    Raises:
        ValueError: a key without values, given twice, or a seed.
    """
    axes: dict[str, list] = {}
    for key, *values in vary:
        if key in SEEDS:
            raise ValueError(
                f"--vary {key}: seeds are no change, each change is tried with all of them: give "
                f"--seeds {' '.join(values) or '0 1 2'}"
            )
        if not values or key in axes:
            raise ValueError(f"--vary {key}: give each key once, with at least one value")
        axes[key] = [value_of(text) for text in values]
    if product:
        return [
            dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
        ]
    return [{}, *({key: value} for key, values in axes.items() for value in values)]


def real_change(change: Change, config: Mapping[str, Any]) -> Change:
    """A change without what the config says anyway, so that no run is done twice."""
    return {k: v for k, v in change.items() if plain(_at(config, k)) != plain(v)}


def _at(config: Mapping[str, Any], path: str) -> Any:
    node: Any = config
    for part in path.split("."):
        if isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return _MISSING
    return node


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last parts of each key, as many as tell it from the others."""
    split = {key: key.split(".") for key in keys}
    found = {}
    for key, parts in split.items():
        others = [split[other] for other in split if other != key]
        ends = (n for n in range(1, len(parts)) if parts[-n:] not in [o[-n:] for o in others])
        found[key] = ".".join(parts[-next(ends, len(parts)) :])
    return found


def name_of(change: Mapping[str, Any], seed: int, names: Mapping[str, str]) -> str:
    """Of a run's folder, with `short_names` of the grid's keys, which keep it readable."""
    parts = [f"{names[key]}={value}" for key, value in change.items()]
    safe = "".join(c if c.isalnum() or c in "=._-" else "-" for c in ",".join(parts) or "as_is")
    return f"{safe}_seed{seed}"


def load(args: argparse.Namespace, change: Change, seed: int):
    """The config with a change and the options of the command line, their ``{seed}`` and
    ``{config}`` (the file's name, no ending) filled in.
    """
    from vtonlab.engine.config.load import load_config

    file = str(change.get("config", args.config))
    options = {**args.cfg_options, **change}
    options.pop("config", None)
    for key, value in options.items():
        if isinstance(value, str):
            value = value.replace("{seed}", str(seed)).replace("{config}", Path(file).stem)
            options[key] = value
    return load_config(file, options)


def run_one(args: argparse.Namespace, change: Change, seed: int, folder: Path) -> dict:
    """Train (or go on training) and test one run: ``metrics``, and ``pairs``: metric -> pair ->
    number, of those that the test notes pair by pair.
    """
    from vtonlab.engine.checkpoints.files import find_latest
    from vtonlab.engine.config.load import finalize
    from vtonlab.engine.running.training import train
    from vtonlab.engine.testing.run import test
    from vtonlab.evaluation.results import read_results

    def config():
        return finalize(load(args, change, seed), work_dir=str(folder), seed=seed)

    training = config()
    latest = find_latest(folder)
    done = 0 if latest is None else int(latest.stem.split("_")[1])
    if done < training.train_cfg.max_iters:
        if done:
            training.resume, training.load_from = True, None
        train(training)
    metrics = test(config(), str(find_latest(folder)), folder / "test")["metrics"]
    pairs: dict[str, dict[str, float]] = {}
    for row in read_results(folder / "test").rows:
        for name in metrics:
            if isinstance(row.get(name), (int, float)):
                pair = f"{row.get('id')}__{row.get('garment_id')}"
                pairs.setdefault(name, {})[pair] = float(row[name])
    return {"metrics": metrics, "pairs": pairs}


def run_all(args: argparse.Namespace) -> Iterator[dict]:
    """Every run as ``change``, ``seed``, and ``metrics`` and ``pairs``, or ``failed``."""
    from vtonlab.engine.config.agreement import check_agreement
    from vtonlab.engine.config.check import check_config
    from vtonlab.engine.config.load import finalize
    from vtonlab.utils.source import commit

    base = load(args, {}, args.seeds[0])._cfg_dict.to_dict() | {"config": args.config}
    changes: list[Change] = []
    for change in changes_of(args.vary, args.product):
        change = real_change(change, base)
        if change not in changes:
            changes.append(change)
    for change in changes:  # all of them, before the first is trained
        config = load(args, change, args.seeds[0])
        check_config(finalize(config, work_dir=str(args.out)))
        check_agreement(config)
    names = short_names(dict.fromkeys(key for change in changes for key in change))
    runs = [(change, seed) for change in changes for seed in args.seeds]
    for number, (change, seed) in enumerate(runs):
        folder = args.out / name_of(change, seed, names)
        written = folder / "run.json"
        wanted = {"config": args.config, "options": plain(args.cfg_options), "change": change}
        known = json.loads(written.read_text()) if written.is_file() else {}
        if known and {key: known.get(key) for key in wanted} != plain(wanted):
            raise ValueError(
                f"{folder} holds a run of other settings: choose another --out, or remove it"
            )
        print(f"[{number + 1}/{len(runs)}] {folder.name}", flush=True)
        if "metrics" not in known:
            facts = plain({**wanted, "seed": seed, "commit": commit()})
            folder.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(facts, indent=2) + "\n")  # a kill must not mix settings
            known = facts | attempt(args, change, seed, folder)
            written.write_text(json.dumps(known, indent=2, default=float) + "\n")
        yield known


def attempt(args: argparse.Namespace, change: Change, seed: int, folder: Path) -> dict:
    """What `run_one` gives, or why it failed: the grid goes on."""
    import gc

    import torch

    from vtonlab.engine.cli import sentence

    try:
        return run_one(args, change, seed, folder)
    except Exception as error:
        reason = f"{type(error).__name__}: {sentence(error)}"
    gc.collect()  # what the run held, before the next
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    print(f"{folder.name} failed: {reason}", file=sys.stderr, flush=True)
    return {"failed": reason}


def plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value, default=repr))


def changes_in(results: list[dict]) -> list[Change]:
    """The changes of some runs, in order."""
    found: list[Change] = []
    for result in results:
        if result["change"] not in found:
            found.append(result["change"])
    return found


def difference(results: list[dict], change: Change, metric: str) -> tuple[float, Any] | None:
    """Mean difference of a change from the unchanged config over the seeds that both have, and its
    95 % interval; None without such seeds. Both are over pairs, where there are numbers of pairs.
    """
    from vtonlab.evaluation.statistics import paired_interval

    runs = {r["seed"]: r for r in results if r["change"] == change and _has(r, metric)}
    base = {r["seed"]: r for r in results if not r["change"] and _has(r, metric)}
    seeds = sorted(set(runs) & set(base))
    if not seeds:
        return None
    rows = []
    for seed in seeds:
        mine, its = (r[seed].get("pairs", {}).get(metric, {}) for r in (runs, base))
        common = sorted(set(mine) & set(its))
        rows.append({pair: mine[pair] - its[pair] for pair in common})
    whole = [runs[s]["metrics"][metric] - base[s]["metrics"][metric] for s in seeds]
    pairs = set.intersection(*map(set, rows))
    table = [[row[pair] for pair in sorted(pairs)] for row in rows] if pairs else None
    table = table or [[value] for value in whole]
    return sum(map(sum, table)) / sum(map(len, table)), paired_interval(table)


def _has(result: dict, metric: str) -> bool:
    return isinstance(result.get("metrics", {}).get(metric), (int, float))


def table(results: list[dict], metrics: list[str]) -> str:
    """Markdown: one row for each change, then what failed, and how the numbers were made."""
    import statistics

    head = [part for metric in metrics for part in (metric, "difference [95 %]")]
    lines = [f"| change | seeds | {' | '.join(head)} |", "|---|---|" + "---|" * len(head)]
    for change in changes_in(results):
        runs = [r for r in results if r["change"] == change]
        told = ", ".join(f"{k} = {v}" for k, v in change.items()) or "none"
        cells = [told, " ".join(str(r["seed"]) for r in runs if "metrics" in r) or "none"]
        for metric in metrics:
            values = [r["metrics"][metric] for r in runs if _has(r, metric)]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            failed = "failed" if any("failed" in r for r in runs) else "not computed"
            cells.append(f"{statistics.fmean(values):.4f}{spread}" if values else failed)
            found = difference(results, change, metric) if change else None
            cells.append(_told(found))
        lines.append(f"| {' | '.join(cells)} |")
    names = short_names(dict.fromkeys(key for r in results for key in r["change"]))
    failed = {name_of(r["change"], r["seed"], names): r["failed"] for r in results if "failed" in r}
    lines += ["", *(f"{name} failed: {why}" for name, why in failed.items())]
    options = "".join(f" {k}={v}" for k, v in results[0].get("options", {}).items())
    commits = " ".join(sorted({str(r.get("commit")) for r in results}))
    lines += ["", f"Config `{results[0].get('config')}`{options}, commit {commits}."]
    return "\n".join(lines).rstrip() + "\n"


def _told(found: tuple[float, Any] | None) -> str:
    if found is None:
        return ""
    value, interval = found
    return f"{value:+.4f}" + (f" [{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else "")


def plot(results: list[dict], vary: list[list[str]], metrics: list[str], path: Path) -> None:
    """One row of panels for each metric, one column for each key: every seed a point, means joined;
    the unchanged config dashed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(vary), 2.6 * len(metrics)), layout="constrained")
    names = short_names(key for key, *_ in vary)
    panels = figure.subplots(len(metrics), len(vary), squeeze=False)
    for (row, metric), (column, (key, *texts)) in itertools.product(
        enumerate(metrics), enumerate(vary)
    ):
        panel = panels[row][column]
        means = []
        for place, text in enumerate(texts):
            wanted = plain(value_of(text))
            found = [r["metrics"][metric] for r in results
                     if _has(r, metric) and r["change"].get(key, _MISSING) == wanted]  # fmt: skip
            panel.plot([place] * len(found), found, "o", color="tab:blue", alpha=0.6)
            means += [(place, sum(found) / len(found))] if found else []
        if means:
            panel.plot(*zip(*means, strict=True), color="tab:blue", linewidth=1)
        for value in [r["metrics"][metric] for r in results if not r["change"] and _has(r, metric)]:
            panel.axhline(value, linestyle="--", color="tab:gray", linewidth=1)
        panel.set_xticks(range(len(texts)), texts)
        panel.set_xlabel(names[key])
        panel.set_ylabel(metric if column == 0 else "")
    figure.savefig(path, dpi=120)


_MISSING = "(not in the config)"


def main() -> int:
    args = parse_args()
    from vtonlab.engine.cli import FINDINGS, OK

    results = list(run_all(args))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(results, indent=2, default=float) + "\n")
    text = table(results, args.metrics)
    (args.out / "table.md").write_text(text)
    plot(results, args.vary, args.metrics, args.out / "plot.png")
    print(text)
    return FINDINGS if any("failed" in result for result in results) else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
