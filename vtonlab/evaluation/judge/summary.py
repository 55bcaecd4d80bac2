"""What the answers say, and how far they can be trusted."""

from typing import Any

import numpy as np

from vtonlab.evaluation.judge.rubric import CRITERIA
from vtonlab.evaluation.judge.run import Judge
from vtonlab.evaluation.statistics import (
    bootstrap_interval,
    exact_agreement,
    krippendorff_alpha,
)


def summarise(judge: Judge) -> dict[str, Any]:
    """judge.json: per criterion the mean over pairs (of the mean over repeats) with its interval,
    agreement of the repeats, and the control's gap.

    ``agreement_alpha``: Krippendorff's alpha of the repeats (1: they agree, 0: as chance would).
    ``exact_agreement``: share of equal pairs of repeats. ``order_gap``: mean of (score in another
    picture order - mean in the fixed order) over the control's pairs; an interval that leaves out 0
    means that the judge looks at the order.
    """
    scores: dict[str, dict[str, list[int]]] = {name: {} for name in CRITERIA}
    other: dict[str, dict[str, int]] = {name: {} for name in CRITERIA}
    for asked, answer in judge.answers.items():
        if asked.order == 0:
            scores[asked.criterion].setdefault(asked.pair, []).append(answer["score"])
        else:
            other[asked.criterion][asked.pair] = answer["score"]
    per_pair: dict[str, dict[str, float]] = {}
    for name, pairs in scores.items():
        for pair, found in pairs.items():
            per_pair.setdefault(pair, {})[name] = float(np.mean(found))
    settings = judge.settings
    return {
        "format": 1,
        "model": judge.endpoint.name,
        "endpoint": getattr(judge.endpoint, "base", "local"),
        "rubric_sha256": judge.rubric,
        "prompt_sha256": judge.rubric,
        "repeats": settings.repeats,
        "control": settings.control,
        "max_side": settings.max_side,
        "pairs": len({question.pair for question in judge.questions}),
        "asked": len(judge.questions),
        "answered": len(judge.answers),
        "failed": {_label(q): why for q, why in judge.failures.items()},
        "criteria": {name: _criterion(scores[name], other[name]) for name in CRITERIA},
        "per_pair": dict(sorted(per_pair.items())),
    }


def _criterion(scores: dict[str, list[int]], other: dict[str, int]) -> dict[str, Any]:
    means = [float(np.mean(found)) for found in scores.values()]
    gaps = [other[pair] - float(np.mean(scores[pair])) for pair in other if pair in scores]
    return {
        "mean": float(np.mean(means)) if means else None,
        "ci95": bootstrap_interval(means),
        "pairs": len(means),
        "agreement_alpha": krippendorff_alpha(list(scores.values())),
        "exact_agreement": exact_agreement(list(scores.values())),
        "order_gap": float(np.mean(gaps)) if gaps else None,
        "order_gap_ci95": bootstrap_interval(gaps),
        "order_gap_pairs": len(gaps),
    }


def _label(question) -> str:
    return f"{question.pair} {question.criterion} repeat {question.repeat} order {question.order}"
