"""From a folder of pictures and a data set to a results folder."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vtonlab.evaluation.base import PairMetric
from vtonlab.evaluation.distribution import KID
from vtonlab.evaluation.predictions import encoding, match_predictions, naming
from vtonlab.evaluation.protocol import REPAINTS, Protocol
from vtonlab.evaluation.results import relative, run_facts, versions, write_results
from vtonlab.evaluation.scoring import BOOTSTRAP_SEED, Scores, score_pictures
from vtonlab.evaluation.truth import MAPS, Truth, open_truth
from vtonlab.ops.resize import Size
from vtonlab.registry import METRICS
from vtonlab.utils.locking import WorkDirLock

Progress = Callable[[int, int, int], None]


def at_size(protocol: Protocol, size: Size | None) -> Protocol:
    """The protocol compared at another size than its own; None leaves it."""
    return protocol if size is None else replace(protocol, size=tuple(size))


def wanted_maps(protocol: Protocol, setting: str, paste: bool) -> list[str]:
    """Maps of the data that a protocol's metrics read."""
    needs = {"mask"} if paste else set()
    for config in getattr(protocol, setting):
        cls = METRICS.get(config["type"])
        needs |= set(cls.needs) if issubclass(cls, PairMetric) else set()
    return [name for name in MAPS if name in needs]


def evaluate_folder(
    pred: str | Path,
    data: Mapping[str, Any],
    protocol: Protocol,
    setting: str,
    out: str | Path,
    *,
    name: str | None = None,
    paste: bool = False,
    exclude: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score anybody's pictures and write a results folder; returns results.json.

    Args:
        pred: folder of pictures, one per pair; see `predictions.py` for their names.
        data: config of the data set (``dict(type="VITONHDDataset", data_root=..., split="test")``).
        protocol: how.
        setting: ``"paired"`` or ``"unpaired"``.
        out: results folder.
        name: of the system; the folder's by default.
        paste: paste the photograph back outside the mask before scoring.
        exclude: file of people to leave out, such as published leaks.
        progress: called with (done, 0, total).

    Raises:
        ValueError, FileNotFoundError: data or pictures that do not fit, or another process fills
            ``out``; nothing was computed.
    """
    start = time.time()
    truth = open_truth(data, setting, wanted_maps(protocol, setting, paste), exclude)
    files = check_predictions(pred, truth, protocol)
    with WorkDirLock(out, "--out"):
        scores = score_pictures(protocol, truth, files, setting, paste=paste, progress=progress)
        rows = with_files(scores.rows, truth, Path(out), scored=files, generated=files)
        shown = Path(pred).absolute()
        results = {
            "system": name or shown.name,
            **score_facts(scores, protocol, setting, truth),
            "repaint": "pasted back" if paste else "unknown",
            "seeds": seeds(protocol, setting),
            "sampler": None,
            "config": None,
            "checkpoint": None,
            "sha256": None,
            "pictures": {
                **{"generated": str(shown), "repainted": None, "scored": str(shown)},
                **{"names": naming(files, truth.pairs), "encoding": encoding(files)},
            },
            "run": run_facts(start),
        }
        write_results(out, results, rows)
    return results


def check_predictions(pred: str | Path, truth: Truth, protocol: Protocol) -> list[Path]:
    """The file of each pair, every one opened; see `match_predictions` for what it raises."""
    sizes = [truth.size(index) for index in range(len(truth))]
    exact = protocol.exact and (True if isinstance(protocol.size, str) else protocol.size)
    return match_predictions(pred, truth.pairs, sizes, exact=exact)


def score_facts(scores: Scores, protocol: Protocol, setting: str, truth: Truth) -> dict[str, Any]:
    """The part of results.json that scoring and protocol decide."""
    return {
        "setting": setting,
        "metrics": {**scores.metrics, "pictures": len(truth)},
        "directions": scores.directions,
        "intervals": scores.intervals,
        "by_category": scores.by_category,
        "not_computed": scores.not_computed,
        "protocol": {**protocol.settings(), "line": scores.line},
        "images": len(truth),
        "real_pictures": scores.real_pictures,
        "list": {"sha256": truth.digest, "pairs": len(truth)},
        "mask_source": truth.describe_mask(),
        "versions": versions(),
        "weights": scores.weights,
    }


def seeds(protocol: Protocol, setting: str, pictures: int | None = None) -> dict[str, int | None]:
    """Every seed that a number depends on; None: not ours to know."""
    kid = [c.get("seed", 0) for c in getattr(protocol, setting) if METRICS.get(c["type"]) is KID]
    return {"pictures": pictures, "kid": kid[0] if kid else None, "bootstrap": BOOTSTRAP_SEED}


def with_files(
    rows: Sequence[Mapping[str, Any]], truth: Truth, out: Path, **columns: Sequence[Path | None]
) -> list[dict[str, Any]]:
    """Rows with the paths of their pictures: those of ``columns``, and the data's own."""
    full = []
    for index, row in enumerate(rows):
        row = dict(row)
        files = truth.files(index)
        for key in ("person", "garment", "agnostic", "mask"):
            row[f"{key}_file"] = relative(files.get(key), out)
        if truth.setting == "paired":
            row["target_file"] = row["person_file"]
        for key, paths in columns.items():
            row[f"{key}_file"] = relative(paths[index], out)
        full.append(row)
    return full


def report_lines(results: Mapping[str, Any]) -> list[str]:
    """What the tools print: numbers with their intervals, what is missing, and the protocol."""
    lines = []
    for name, value in results["metrics"].items():
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        interval = results["intervals"].get(name)
        shown += f"  [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
        arrow = {"up": "higher is better", "down": "lower is better"}
        better = arrow.get(results["directions"].get(name, ""), "")
        lines.append(f"{name:>28}: {shown:<34} {better}".rstrip())
    reasons: dict[str, list[str]] = {}
    for name, why in results["not_computed"].items():
        reasons.setdefault(why, []).append(name)
    lines += [f"not computed: {', '.join(names)}: {why}" for why, names in reasons.items()]
    for name, facts in results["weights"].items():
        if facts["official"] is False:
            lines.append(f"note: {name} is not the official file (SHA-256 {facts['sha256'][:12]})")
    pictures = results.get("pictures") or {}
    if "JPEG" in pictures.get("encoding", "") or "WEBP" in pictures.get("encoding", ""):
        lines.append(
            f"note: the scored pictures are {pictures['encoding']}: compression costs every "
            "metric; PNG does not"
        )
    if pictures.get("names") == "<person>":
        lines.append(
            "note: the pictures' names say who, not which garment: that they are "
            f"{results['setting']} is taken on trust; <person>__<garment>.png would say it"
        )
    protocol = results["protocol"]
    if protocol is not None:
        lines.append(f"protocol: {protocol['line']}")
        lines += [f"note: {protocol['notes']}"] if protocol["notes"] else []
        advised = REPAINTS[protocol["repaint"]]
        if advised == "pasted back" and results["repaint"] != advised:
            lines.append(f"note: {protocol['name']} pastes the photograph back; this did not")
    digest = results["list"]["sha256"]
    if digest is not None:  # of try-on pairs
        lines.append(
            f"{results['images']} pairs, list {digest[:12]}, {results['real_pictures']} real "
            f"pictures, repaint {results['repaint']}, masks {results['mask_source']}"
        )
    return lines
