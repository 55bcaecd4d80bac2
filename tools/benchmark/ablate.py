"""Train and test a config again and again with one setting changed, and plot what that does.

Each `--vary KEY VALUE...` changes one key, all others as in the config; `--product` tries every
combination instead. A run is trained, tested and written into a folder named after its changes.
Runs that have a result are passed over and one that was cut short is resumed: give the same command
again after a stop, or with more values.

Example:
    python tools/benchmark/ablate.py configs/leffa/unet_synthetic.py --out work_dirs/figure5 \\
        --vary model.attention_losses.flow.weight 0 0.1 1 10 \\
        --vary model.attention_losses.flow.t_max 250 500 1000 \\
        --metrics attention_pck l1_inside --cfg-options train_cfg.max_iters=400

Writes `table.md`, `results.json` and `plot.png` into `--out`. Exit codes: 0 done, 1 a run stopped
(the others are done), 2 bad input.
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Change = dict[str, Any]  # config key -> value; empty: the config as it is


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options

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
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--metrics", nargs="+", default=["attention_pck", "l1_inside"])
    parser.add_argument("--out", type=Path, required=True)
    add_cfg_options(parser)
    return parser.parse_args(argv)


def value_of(text: str) -> Any:
    """What Python reads, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def changes_of(vary: list[list[str]], product: bool) -> list[Change]:
    """The runs, the unchanged config first.

    Raises:
        ValueError: a key without values, or given twice.
    """
    axes: dict[str, list] = {}
    for key, *values in vary:
        if not values or key in axes:
            raise ValueError(f"--vary {key}: give each key once, with at least one value")
        axes[key] = [value_of(text) for text in values]
    if product:
        return [
            dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
        ]
    return [{}, *({key: value} for key, values in axes.items() for value in values)]


def name_of(change: Mapping[str, Any], seed: int) -> str:
    """Of a run's folder: the last parts of its keys, which keep it readable."""
    parts = [f"{key.rsplit('.', 1)[-1]}={value}" for key, value in change.items()]
    safe = "".join(c if c.isalnum() or c in "=._-" else "-" for c in ",".join(parts) or "as_is")
    return f"{safe}_seed{seed}"


def run_one(args: argparse.Namespace, change: Change, seed: int, folder: Path) -> dict:
    """Train (or go on training) and test one run; its metrics."""
    from vtonlab.engine.checkpoints.files import find_latest
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.running.training import train
    from vtonlab.engine.testing.run import test

    def config():
        made = load_config(args.config, {**args.cfg_options, **change})
        return finalize(made, work_dir=str(folder), seed=seed)

    training = config()
    latest = find_latest(folder)
    done = 0 if latest is None else int(latest.stem.split("_")[1])
    if done < training.train_cfg.max_iters:
        if done:
            training.resume, training.load_from = True, None
        train(training)
    return test(config(), str(find_latest(folder)), folder / "test")["metrics"]


def run_all(args: argparse.Namespace) -> Iterator[dict]:
    """Every run as ``change``, ``seed``, and ``metrics`` or ``stopped``."""
    from vtonlab.engine.config.check import check_config
    from vtonlab.engine.config.load import finalize, load_config

    runs = [(c, seed) for c in changes_of(args.vary, args.product) for seed in args.seeds]
    for change, _ in runs:  # all of them, before the first is trained
        options = {**args.cfg_options, **change}
        check_config(finalize(load_config(args.config, options), work_dir=str(args.out)))
    for number, (change, seed) in enumerate(runs):
        folder = args.out / name_of(change, seed)
        written = folder / "run.json"
        wanted = {"config": args.config, "options": plain(args.cfg_options), "change": change}
        known = json.loads(written.read_text()) if written.is_file() else {}
        if known and {key: known.get(key) for key in wanted} != plain(wanted):
            raise ValueError(
                f"{folder} holds a run of other settings: choose another --out, or remove it"
            )
        print(f"[{number + 1}/{len(runs)}] {folder.name}", flush=True)
        if "metrics" not in known:
            try:
                known = plain({**wanted, "seed": seed})
                known["metrics"] = run_one(args, change, seed, folder)
            except FloatingPointError as error:  # a number was not finite: a result too
                known["stopped"] = str(error)
            folder.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(known, indent=2, default=float) + "\n")
        yield known


def plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value, default=float))


def table(results: list[dict], metrics: list[str]) -> str:
    """Markdown: one row for each run."""
    lines = [f"| change | seed | {' | '.join(metrics)} |", "|---|---|" + "---|" * len(metrics)]
    for result in results:
        change = ", ".join(f"{k} = {v}" for k, v in result["change"].items()) or "none"
        found = result.get("metrics", {})
        cells = [f"{found[m]:.4f}" if m in found else "stopped" for m in metrics]
        lines.append(f"| {change} | {result['seed']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(results: list[dict], vary: list[list[str]], metrics: list[str], path: Path) -> None:
    """One row of panels for each metric, one column for each key; the unchanged config dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(vary), 2.6 * len(metrics)), layout="constrained")
    panels = figure.subplots(len(metrics), len(vary), squeeze=False)
    for (row, metric), (column, (key, *texts)) in itertools.product(
        enumerate(metrics), enumerate(vary)
    ):
        panel = panels[row][column]
        for place, text in enumerate(texts):
            wanted = plain(value_of(text))
            found = [r["metrics"][metric] for r in results
                     if "metrics" in r and r["change"].get(key, _MISSING) == wanted]  # fmt: skip
            panel.plot([place] * len(found), found, "o", color="tab:blue")
        base = [r["metrics"][metric] for r in results if not r["change"] and "metrics" in r]
        for value in base:
            panel.axhline(value, linestyle="--", color="tab:gray", linewidth=1)
        panel.set_xticks(range(len(texts)), texts)
        panel.set_xlabel(key.rsplit(".", 1)[-1])
        panel.set_ylabel(metric if column == 0 else "")
    figure.savefig(path, dpi=120)


_MISSING = object()


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
    return FINDINGS if any("stopped" in result for result in results) else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
