"""Which block of a network finds the garment, and at which noise level: a map block x sigma.

Example:
    python tools/analysis/probe_attention.py configs/coral/dit_synthetic.py work_dirs/x/iter_1200.pth
    python tools/analysis/probe_attention.py configs/coral/dit_vitonhd.py --pairs 40 \\
        --cfg-options data_root=DIR pretrained=FLUX_DIR test_dataloader.dataset.matches.matcher.type=DINOv3Matcher
    python tools/analysis/probe_attention.py CONFIG CHECKPOINT --results work_dirs/x/test

Attention is read while denoising the pairs' true pictures, and held against the true flow
(SyntheticTryOn) or a matcher's correspondences (`matches` of the test data set). With --results, a
results folder of tools/test.py, each pair's PCK is also correlated with its picture scores (CORAL's
Figure 2). Without a checkpoint the config's own weights are probed.

Writes probe.json and probe.png into --out. The block to supervise is usually the best one, or
one shortly before it.

Exit codes: 0 done, 2 bad input.
"""  # noqa: E501

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("checkpoint", nargs="?", help="iter_*.pth or model.safetensors")
    parser.add_argument(
        "--sigmas", nargs="+", type=float, default=[0.1, 0.3, 0.5, 0.7, 0.9], metavar="SIGMA",
        help="noise levels in (0, 1]; default 0.1 0.3 0.5 0.7 0.9",
    )  # fmt: skip
    parser.add_argument("--layers", nargs="+", default=["*"], help="names or patterns; default all")
    parser.add_argument("--pairs", type=int, default=64, help="of the test data; default 64")
    parser.add_argument("--results", help="results folder whose per_image.csv is correlated")
    parser.add_argument("--out", default="work_dirs/probe", help="folder of probe.json, probe.png")
    add_cfg_options(parser)
    args = parse(parser, argv)
    if not all(0 < sigma <= 1 for sigma in args.sigmas):
        parser.error(f"--sigmas {args.sigmas} must lie in (0, 1]")
    if args.pairs < 1:
        parser.error(f"--pairs must be at least 1, not {args.pairs}")
    return args


def main() -> None:
    args = parse_args()
    from vtonlab.engine.checkpoints.models import load_model, test_config
    from vtonlab.evaluation.attention_probe import AttentionProbe

    config = test_config(args.config, args.cfg_options)
    if config.get("test_dataloader") is None:
        raise ValueError(f"{args.config} has no test_dataloader: there is nobody to look at")
    scores = read_scores(args.results) if args.results else None
    model = load_model(config, args.checkpoint)
    if not hasattr(model, "attention_records"):
        raise ValueError(f"{args.config}: {type(model).__name__} has no attention to probe")
    probe = AttentionProbe(sorted(args.sigmas))
    for batch in batches(config, model, args.pairs):
        probe.add(model, batch, args.layers)
    found = probe.as_dict()
    found |= dict(config=args.config, checkpoint=args.checkpoint)
    if scores is not None:
        found["correlations"] = correlate(probe, found["best"], scores)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "probe.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found, out / "probe.png")
    report(found)
    print(f"written to {out / 'probe.json'} and {out / 'probe.png'}")


def batches(config, model, pairs: int):
    """Preprocessed batches of the first ``pairs`` samples of the test data."""
    from vtonlab.registry import DATASETS
    from vtonlab.structures.sample import collate
    from vtonlab.utils.progress import Progress

    dataset = DATASETS.build(config.test_dataloader.dataset.to_dict())
    total, size = min(pairs, len(dataset)), config.test_dataloader.get("batch_size", 1)
    progress = Progress("pairs")
    for start in range(0, total, size):
        samples = [dataset[index] for index in range(start, min(start + size, total))]
        yield model.data_preprocessor(collate(samples), False)
        progress(start + len(samples), 0, total)


def read_scores(folder: str) -> dict[str, dict[str, float]]:
    """Metric -> person id -> value, of a results folder's pictures."""
    from vtonlab.evaluation.results import read_results

    results = read_results(folder)
    return {
        name: {row["id"]: row[name] for row in results.rows if row[name] is not None}
        for name in results.numbers
    }


def correlate(probe, best: dict, scores: dict[str, dict[str, float]]) -> dict[str, dict]:
    """Of the best cell's PCK per pair with each picture score."""
    from vtonlab.evaluation.attention_probe import correlations

    pck = probe.pck_of_pairs(best["layer"], best["sigma"])
    columns = {
        name: [by_id.get(pair, float("nan")) for pair in probe.ids]
        for name, by_id in scores.items()
    }
    return correlations(pck, columns)


def draw(found: dict, path: Path) -> None:
    """PCK and entropy as maps block x sigma; the best cell is framed."""
    import numpy as np
    from matplotlib.figure import Figure

    layers, sigmas = found["layers"], found["sigmas"]
    size = (4.5 + 1.1 * len(sigmas), 1.6 + 0.34 * len(layers))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    titles = ("PCK: share of right matches", "entropy, share of log N")
    for axis, name, title in zip(axes, ("pck", "entropy"), titles, strict=True):
        values = np.array(found[name])
        axis.imshow(values, aspect="auto", cmap="viridis", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(values):
            colour = "black" if value > 0.6 else "white"
            axis.text(
                column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8
            )
        axis.set_xticks(range(len(sigmas)), [f"{s:g}" for s in sigmas])
        axis.set_xlabel("noise level sigma")
        axis.set_title(title, fontsize=10)
    axes[0].set_yticks(range(len(layers)), layers, fontsize=8)
    row, column = layers.index(found["best"]["layer"]), sigmas.index(found["best"]["sigma"])
    axes[0].add_patch(_frame(row, column))
    figure.suptitle(f"{found['pairs']} pairs, {found['queries']} queries", fontsize=9)
    figure.savefig(path, dpi=120)


def _frame(row: int, column: int):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, lw=2, ec="red")


def report(found: dict) -> None:
    """The table on the terminal."""
    wide = max(map(len, found["layers"]))
    print(f"{'PCK':{wide}}  " + "  ".join(f"s={sigma:<5g}" for sigma in found["sigmas"]))
    for layer, row in zip(found["layers"], found["pck"], strict=True):
        print(f"{layer:{wide}}  " + "  ".join(f"{value:<7.3f}" for value in row))
    best, chance = found["best"], found["chance"][0][0]
    print(
        f"best: {best['layer']} at sigma {best['sigma']:g}, PCK {best['pck']:.3f} (chance "
        f"{chance:.3f}; {found['pairs']} pairs, {found['queries']} queries)"
    )
    for name, value in found.get("correlations", {}).items():
        if value["r"] is not None:
            print(
                f"PCK of a pair and its {name}: r = {value['r']:+.3f} "
                f"[{value['low']:+.3f}, {value['high']:+.3f}], {value['pairs']} pairs"
            )


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
