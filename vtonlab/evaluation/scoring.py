"""Scoring pictures on disk under a protocol: the same path for our models and anybody's folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np

from vtonlab.evaluation.base import NotComputableError, PairMetric, mean
from vtonlab.evaluation.distribution import SetMetric
from vtonlab.evaluation.protocol import REAL_SETS, Protocol, resize_as
from vtonlab.evaluation.statistics import bootstrap_interval
from vtonlab.evaluation.truth import LOSSY, Truth
from vtonlab.ops.repaint import repaint
from vtonlab.ops.resize import Size, resize_mask
from vtonlab.registry import DATASETS
from vtonlab.utils.images import check_image, read_image

BOOTSTRAP_SEED = 0


@dataclass
class Scores:
    """What scoring found; the parts of results.json that come from pictures, and the rows."""

    metrics: dict[str, Any] = field(default_factory=dict)
    directions: dict[str, str] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    by_category: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_computed: dict[str, str] = field(default_factory=dict)
    weights: dict[str, dict] = field(default_factory=dict)
    line: str = ""
    real_pictures: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


def score_pictures(
    protocol: Protocol,
    truth: Truth,
    files: Sequence[Path],
    setting: str,
    *,
    paste: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
) -> Scores:
    """Score one picture per pair.

    Args:
        protocol: how.
        truth: the pairs, in order.
        files: the prediction of each pair, checked by `match_predictions`.
        setting: which metrics of the protocol.
        paste: paste the photograph back outside the mask first.
        progress: called with (done, 0, total).

    Raises:
        ValueError: ``paste`` without masks in the data.
    """
    metrics, refused = protocol.metrics(setting)
    scores = Scores(not_computed=refused, line=protocol.describe(setting, metrics))
    panel = Panel(metrics, scores, truth)
    _add_real_set(protocol, truth, panel, check_image(files[0], deep=False))
    scores.rows = [{"id": p.id, "garment_id": p.garment_id} for p in truth.pairs]
    for index, path in enumerate(files):
        sample = pair_sample(protocol, truth, index, read_image(path), setting, paste)
        scores.rows[index] |= {"category": sample["category"], "index": index}
        panel.each(methodcaller("process", {}, [sample]))
        if progress is not None:
            progress(index + 1, 0, len(files))
    panel.each(panel.finish)
    add_columns(scores, metrics)
    return scores


class Panel:
    """The metrics of one run; those that cannot be computed leave it, with their reason."""

    def __init__(self, metrics: list, scores: Scores, truth: Truth) -> None:
        self.metrics, self.scores, self.truth = metrics, scores, truth

    def each(self, act: Callable[[Any], Any], kind: type = object) -> None:
        """``act`` on every metric of a kind that is still there."""
        for metric in [m for m in self.metrics if isinstance(m, kind)]:
            try:
                act(metric)
            except NotComputableError as error:
                self.scores.not_computed |= dict.fromkeys(metric.names, self._why(metric, error))
                self.metrics.remove(metric)

    def _why(self, metric, error: NotComputableError) -> str:
        """The sentence, with the data set's own where it is a map that is missing."""
        needs = metric.needs if isinstance(metric, PairMetric) else ()
        reasons = [self.truth.lacking[name] for name in needs if name in self.truth.lacking]
        return f"{error}: {'; '.join(reasons)}" if reasons else str(error)

    def finish(self, metric) -> None:
        """A metric's numbers, directions and weights into the scores."""
        self.scores.metrics |= metric.compute_metrics(metric.results)
        self.scores.directions |= metric.directions
        weights = getattr(metric, "weights", None)  # of metrics with a network
        if weights is not None:
            self.scores.weights[weights.name] = weights.facts()
        if isinstance(metric, SetMetric):
            self.scores.not_computed |= metric.refused
            real = {row["key"] for row in metric.results if row["side"] == "real"}
            self.scores.real_pictures = max(self.scores.real_pictures, len(real))


def add_columns(scores: Scores, metrics: Sequence) -> None:
    """Numbers of each pair into the rows, their intervals, and means per category."""
    weights: dict[str, list[float]] = {}
    for metric in metrics:
        if isinstance(metric, PairMetric):
            weights |= metric.pair_weights(metric.results)
            for row, found in zip(scores.rows, metric.columns(metric.results), strict=True):
                row |= found
    names = [*dict.fromkeys(k for row in scores.rows for k in row if k in scores.metrics)]
    for name in names:
        there = [n for n, row in enumerate(scores.rows) if row.get(name) is not None]
        values = [scores.rows[n][name] for n in there]
        counts = [weights[name][n] for n in there] if name in weights else None
        interval = bootstrap_interval(values, BOOTSTRAP_SEED, weights=counts)
        if interval is not None:
            scores.intervals[name] = interval
    categories = sorted({row.get("category", "") for row in scores.rows})
    for category in categories if len(categories) > 1 else ():
        places = [n for n, row in enumerate(scores.rows) if row.get("category") == category]
        part = [scores.rows[n] for n in places]
        means = {}
        for name in names:
            counts = [weights[name][n] for n in places] if name in weights else None
            means[name] = mean([row.get(name) for row in part], counts)
        scores.by_category[category] = {"pictures": len(part), **means}


def pair_sample(
    protocol: Protocol, truth: Truth, index: int, generated: np.ndarray, setting: str, paste: bool
) -> dict:
    """What metrics see of one pair.

    ``generated`` and ``real`` are untouched (FID resizes for itself); ``image``, ``target``,
    ``person`` and the person's masks have the protocol's size.
    """
    true = truth.sample(index)
    size = protocol.compared_size(true["person"].shape[:2], generated.shape[:2])
    lossy = truth.is_lossy(index)
    sample = {key: true[key] for key in ("id", "garment_id", "category", "garment")}
    sample |= {key: true[key] for key in ("garment_mask",) if key in true}
    for key in ("mask", "worn_mask"):
        if key in true:
            sample[key] = resize_mask(true[key], size)
    sample["person"] = protocol.true_picture(true["person"], size, lossy)
    if "flow" in true and size == true["person"].shape[:2]:
        sample["flow"] = true["flow"]  # of rendered people: bounds are known
    answer = true.get("target", true["person"])
    if setting == "paired" or "target" in true:
        sample["target"] = (
            protocol.true_picture(answer, size, lossy) if "target" in true else sample["person"]
        )
    image = resize_as(generated, size, protocol.resize)
    if paste:
        if "mask" not in sample:
            raise ValueError(f"the photograph cannot be pasted back: {truth.lacking['mask']}")
        blur = protocol.repaint_blur
        image = repaint(image, sample["person"], sample["mask"], blur=blur)
    sample["image"] = image
    sample["generated"] = image if paste else generated
    real = answer if setting == "paired" else true["person"]
    if protocol.real_size == "compared":
        real = sample["target"] if setting == "paired" else sample["person"]
    return sample | {"real": real}


def _add_real_set(protocol: Protocol, truth: Truth, panel: Panel, prediction: Size) -> None:
    """The real set of a protocol that is more than the list's own pictures."""
    if protocol.real_set == "list" or not any(isinstance(m, SetMetric) for m in panel.metrics):
        return
    if protocol.real_set == "folder":
        people = truth.folder_people()
    else:
        people = None if truth.train is None else _training_people(truth)
    if people is None:
        panel.scores.line += f" | NOT {REAL_SETS[protocol.real_set]}: the data has none"
        return
    for path in people:
        picture = read_image(path)
        if protocol.real_size == "compared":
            size = protocol.compared_size(picture.shape[:2], prediction)
            picture = protocol.true_picture(picture, size, path.suffix.lower() in LOSSY)
        panel.each(methodcaller("add_real", str(path), None, picture), SetMetric)


def _training_people(truth: Truth) -> list[Path]:
    dataset = DATASETS.build(dict(truth.train))
    return sorted({dataset.files(index)["person"] for index in range(len(dataset))})
