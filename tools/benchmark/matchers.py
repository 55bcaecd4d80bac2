"""Matchers against truth: rendered people, a plane with known homographies, real photographs.

Example:
    python tools/benchmark/matchers.py --samples 6 --out work_dirs/benchmark_matchers
    python tools/benchmark/matchers.py --matchers "dict(type='SIFTMatcher', max_scale_ratio=None)"

Rendered people (SyntheticTryOn, 512x384): precision is the share of matches whose garment point
lies within 4 px of the truth; coverage the share of visible 32x24 person tokens with a right match;
pairs per second are those of one core (processor time).
A matcher of bodies gets two photographs of a person, and one texture kind, for it sees none; the
others get a photograph and a flat garment.
Peak memory is that of two matched pairs over a process at rest, weights included.
Photographs are looked for in the folder of test data that VTONLAB_REAL_DATA names, and left out
without it. Writes ``table.md``, ``results.json`` and ``plot.png``. Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
import os
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

HARDNESS = ((0.0, 0.33), (0.33, 0.67), (0.67, 1.0))
SIZE = (512, 384)
TOLERANCE = 4.0
GRID = (32, 24)
PLAIN = ("plain", "gradient", "denim", "knit")  # textures a local feature cannot hold on to


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--matchers",
        nargs="+",
        default=["dict(type='SIFTMatcher')"],
        help="configs of matchers, as dict(...)",
    )
    parser.add_argument(
        "--imports", nargs="+", default=[], metavar="MODULE", help="of matchers of your own"
    )
    parser.add_argument(
        "--samples", type=at_least(1), default=6, help="per hardness and texture kind"
    )
    parser.add_argument("--textures", nargs="+", help="texture kinds; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="work_dirs/benchmark_matchers")
    return parser.parse_args(argv)


# truth -----------------------------------------------------------------------------------------


def right_matches(matches, flow, size=SIZE, tolerance=TOLERANCE, slack=1) -> np.ndarray:
    """Which matches are right: ``(M,)`` bool.

    A person point may lie ``slack`` pixels beside the visible garment (its outline): then the best
    of the pixels that near counts.
    """
    scale = np.array(size[::-1], dtype=np.float32)
    person = np.floor(matches.person_points.numpy() * np.array(flow.size[::-1])).astype(int)
    garment = matches.garment_points.numpy() * scale
    truth, visible = flow.flow.numpy() * scale, flow.visible.numpy()

    def error(dx: int, dy: int) -> np.ndarray:
        x = (person[:, 0] + dx).clip(0, flow.size[1] - 1)
        y = (person[:, 1] + dy).clip(0, flow.size[0] - 1)
        return np.where(visible[y, x], np.linalg.norm(truth[y, x] - garment, axis=1), np.inf)

    steps = range(-slack, slack + 1)
    here = error(0, 0)
    beside = np.min([error(dx, dy) for dx in steps for dy in steps], axis=0)
    return np.where(np.isinf(here), beside, here) <= tolerance


def covered(matches, right: np.ndarray, flow) -> float:
    """Share of visible person tokens that hold a right match."""
    from vtonlab.structures.correspondences import cell_index

    _, visible = flow.to_grid(GRID)
    held = np.unique(cell_index(matches.person_points[right], GRID).numpy())
    return float(np.isin(np.flatnonzero(visible.numpy()), held).mean())


def arguments_of(matcher, sample: dict) -> dict:
    """What the matcher sees; one that wants the body's vertices gets them."""
    maps = {name: sample[name] for name in matcher.maps if name in sample}
    masks = dict(person_mask=sample["worn_mask"], garment_mask=sample["garment_mask"])
    return dict(person=sample["person"], garment=sample["garment"], **masks, **maps)


# the three benchmarks --------------------------------------------------------------------------


def pictures_for(matcher) -> dict:
    """Settings of SyntheticTryOn: a body is posed in both pictures only if both show a person."""
    wants_bodies = "body" in matcher.maps
    return dict(setting="person_to_person", with_body=True) if wants_bodies else {}


def on_synthetic(matcher, textures, samples: int, seed: int) -> list[dict]:
    """A row per hardness and texture kind."""
    from vtonlab.synthetic.dataset import SyntheticTryOn

    rows = []
    for hardness in HARDNESS:
        for texture in textures:
            data = SyntheticTryOn(
                split="test",
                size=SIZE,
                length=samples,
                seed=seed,
                textures=[texture],
                hardness=hardness,
                maps=["worn_mask", "flow"],
                **pictures_for(matcher),
            )
            total, right, near, coverage, seconds = 0, 0, 0, [], 0.0
            for sample in (data[i] for i in range(samples)):
                start = time.process_time()
                matches = matcher(**arguments_of(matcher, sample))
                seconds += time.process_time() - start
                good = right_matches(matches, sample["flow"])
                near += int(right_matches(matches, sample["flow"], tolerance=2 * TOLERANCE).sum())
                total, right = total + len(matches), right + int(good.sum())
                coverage.append(covered(matches, good, sample["flow"]))
            rows.append(
                dict(
                    hardness=f"{hardness[0]:g}-{hardness[1]:g}",
                    texture=texture,
                    matches_per_pair=total / samples,
                    precision=right / total if total else None,
                    within_8px=near / total if total else None,
                    coverage=float(np.mean(coverage)),
                    pairs_per_second=samples / seconds,
                )
            )
            print(rows[-1], flush=True)
    return rows


def summed(rows: list[dict]) -> list[dict]:
    """Precision over all matches by hardness, of all garments and of the textured ones."""
    totals = []
    for hardness in [*dict.fromkeys(row["hardness"] for row in rows), "all"]:
        line = dict(hardness=hardness)
        for kind, skipped in (("all", ()), ("textured", PLAIN)):
            chosen = [
                row
                for row in rows
                if hardness in (row["hardness"], "all") and row["texture"] not in skipped
            ]
            matches = sum(row["matches_per_pair"] for row in chosen)
            right = sum(row["matches_per_pair"] * (row["precision"] or 0) for row in chosen)
            line[f"matches_per_pair_{kind}"] = matches / len(chosen) if chosen else None
            line[f"precision_{kind}"] = right / matches if matches else None
        totals.append(line)
    return totals


def on_hpatches(settings: dict, folder: Path) -> list[dict]:
    """Reprojection on the plane, at the pictures' own size, at 3 px and at the published 12 px."""
    from PIL import Image

    from vtonlab.registry import MATCHERS

    rows = []
    first = np.array(Image.open(folder / "1.ppm"))
    for threshold in (3.0, 12.0):
        changes = dict(size=None, ransac_threshold=threshold)
        matcher = MATCHERS.build({**settings, **changes})
        for k in (2, 3, 4):
            other = np.array(Image.open(folder / f"{k}.ppm"))
            matches = matcher(first, other)
            a, b = (x.numpy() for x in matches.to_pixels(first.shape[:2], other.shape[:2]))
            moved = np.c_[a, np.ones(len(a))] @ np.loadtxt(folder / f"H_1_{k}").T
            error = np.linalg.norm(moved[:, :2] / moved[:, 2:] - b, axis=1)
            rows.append(
                dict(
                    threshold=threshold,
                    pair=f"1-{k}",
                    matches=len(matches),
                    within_3px=float((error <= 3).mean()) if len(error) else None,
                    within_12px=float((error <= 12).mean()) if len(error) else None,
                )
            )
    return rows


def on_photographs(matcher, folder: Path) -> list[dict]:
    """Counts on matched photographs (no truth: look at tools/analysis/vis_matches.py)."""
    from vtonlab.utils.images import read_image

    return [
        dict(
            pair=path.stem,
            matches=len(matcher(read_image(path), read_image(folder / "cloth" / path.name))),
        )
        for path in sorted((folder / "person").glob("*.jpg"))
    ]


def peak_memory(settings: dict, pairs: list[dict], imports: list[str]) -> float | None:
    """MB that building a matcher and matching pairs take; to be called in a fresh process."""
    import cv2
    import torch

    from vtonlab.registry import MATCHERS
    from vtonlab.utils.plugins import import_plugins

    def status(name: str) -> float:
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if name in x)
        return float(line.split()[1]) / 1024

    if not Path("/proc/self/clear_refs").exists():
        return None
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    import_plugins(imports)
    MATCHERS.get(settings["type"])  # imports are no part of it
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    rest = status("VmRSS")
    matcher = MATCHERS.build(dict(settings))
    for pair in pairs:
        matcher(**pair)
    return status("VmHWM") - rest


def memory_of(matcher, settings: dict, imports: list[str]) -> float | None:
    """:func:`peak_memory` on two rendered pairs."""
    from vtonlab.synthetic.dataset import SyntheticTryOn

    data = SyntheticTryOn(
        split="test", size=SIZE, length=2, maps=["worn_mask"], **pictures_for(matcher)
    )
    pairs = [arguments_of(matcher, data[i]) for i in range(2)]
    with get_context("spawn").Pool(1) as fresh:
        return fresh.apply(peak_memory, (dict(settings), pairs, imports))


# report ----------------------------------------------------------------------------------------


def markdown(rows: list[dict]) -> str:
    """Rows as a table; numbers with three significant digits."""

    def cell(value) -> str:
        if value is None:
            return ""
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell(row[n]) for n in names) + " |" for row in rows]
    return "\n".join(lines)


def plot(results: dict, path: Path) -> None:
    """Precision and matches by texture kind, one colour per hardness, one row per matcher."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(results), 2, figsize=(12, 3.6 * len(results)), squeeze=False)
    for row, (name, parts) in zip(axes, results.items(), strict=True):
        cells = parts["synthetic"]
        textures = list(dict.fromkeys(cell["texture"] for cell in cells))
        for axis, key in zip(row, ("precision", "matches_per_pair"), strict=True):
            for number, low_high in enumerate(dict.fromkeys(c["hardness"] for c in cells)):
                values = [c[key] or 0 for c in cells if c["hardness"] == low_high]
                axis.bar(np.arange(len(textures)) + 0.27 * (number - 1), values, 0.25,
                         label=f"hardness {low_high}")  # fmt: skip
            axis.set_xticks(range(len(textures)), textures, rotation=45, ha="right")
            axis.set_title(f"{name}: {key.replace('_', ' ')}")
        row[0].axhline(0.9, color="grey", linewidth=0.8)
        row[1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    import platform

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def run_matcher(settings: dict, args: argparse.Namespace, textures: list[str]) -> dict:
    """Everything about one matcher."""
    from vtonlab.registry import MATCHERS

    matcher = MATCHERS.build(dict(settings))
    real = Path(os.environ.get("VTONLAB_REAL_DATA") or "/nonexistent")
    kinds = textures[:1] if "body" in matcher.maps else textures
    parts = {"synthetic": on_synthetic(matcher, kinds, args.samples, args.seed)}
    parts["synthetic, all kinds together"] = summed(parts["synthetic"])
    if settings["type"] == "SIFTMatcher" and (real / "hpatches_v_dogman").is_dir():
        parts["hpatches"] = on_hpatches(settings, real / "hpatches_v_dogman")
    if "body" not in matcher.maps and (real / "sift_pairs").is_dir():
        parts["photographs"] = on_photographs(matcher, real / "sift_pairs")
    parts["peak_memory_mb"] = memory_of(matcher, settings, args.imports)
    return parts


def main() -> None:
    args = parse_args()
    import cv2
    import torch
    from mmengine.config import Config

    from vtonlab.synthetic.outfit import TEXTURES
    from vtonlab.utils.plugins import import_plugins

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    import_plugins(args.imports)
    textures = args.textures or sorted(TEXTURES)
    unknown = set(textures) - set(TEXTURES)
    if unknown:
        raise ValueError(f"no texture {sorted(unknown)}; there are {sorted(TEXTURES)}")
    results = {}
    for text in args.matchers:
        settings = Config.fromstring(f"matcher = {text}", ".py").matcher.to_dict()
        results[text] = run_matcher(settings, args, textures)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1))
    lines = [f"# Matchers against truth\n\n{processor()}, one core\n"]
    for name, parts in results.items():
        peak = parts.pop("peak_memory_mb")
        lines.append(f"## {name}\n")
        lines += [f"peak memory {peak:.0f} MB\n"] if peak is not None else []
        lines += [f"### {part}\n\n{markdown(rows)}\n" for part, rows in parts.items() if rows]
    (out / "table.md").write_text("\n".join(lines))
    plot(results, out / "plot.png")
    print((out / "table.md").read_text())


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
