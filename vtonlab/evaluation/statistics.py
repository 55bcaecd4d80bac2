"""Intervals and agreement: what a mean, a share of votes or a panel of raters is worth."""

from collections.abc import Sequence

import numpy as np

Z95 = 1.959963984540054


def bootstrap_interval(
    values: Sequence[float],
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
    weights: Sequence[float] | None = None,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the (weighted) mean over pairs; None below two values."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return None
    rng = np.random.default_rng([seed, len(values)])
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    drawn = (rng.integers(len(values), size=len(values)) for _ in range(draws))
    means = [np.average(values[some], weights=weights[some]) for some in drawn]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_interval(
    differences: Sequence[Sequence[float]], seed: int = 0, draws: int = 2000, level: float = 0.95
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean of paired differences (seeds, pairs).

    Seeds and pairs are drawn anew, each with replacement: all pairs are seen under each seed. With
    one seed the interval is over pairs alone, and the other way round; None for a single number.
    """
    table = np.asarray(differences, dtype=np.float64)
    if table.size < 2:
        return None
    rng = np.random.default_rng(seed)
    rows = rng.integers(table.shape[0], size=(draws, table.shape[0]))
    columns = rng.integers(table.shape[1], size=(draws, table.shape[1]))
    means = [table[np.ix_(row, column)].mean() for row, column in zip(rows, columns, strict=True)]
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def wilson_interval(wins: float, count: int, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a share; (0, 1) where nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    share = wins / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = (
        z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    )
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def krippendorff_alpha(units: Sequence[Sequence[float]]) -> float | None:
    """Krippendorff's alpha with interval distance: 1 raters agree, 0 as chance would.

    Args:
        units: the answers to each thing rated, any number of them; units with fewer than two do
            not count.

    Returns:
        None where nothing can be said: no unit with two answers, or one answer everywhere.
    """
    units = [np.asarray(unit, dtype=np.float64) for unit in units if len(unit) >= 2]
    if not units:
        return None
    pooled = np.concatenate(units)
    observed = sum(2 * len(u) * len(u) / (len(u) - 1) * u.var() for u in units) / len(pooled)
    expected = 2 * len(pooled) / (len(pooled) - 1) * pooled.var()
    return None if expected == 0 else float(1 - observed / expected)


def exact_agreement(units: Sequence[Sequence[float]]) -> float | None:
    """Share of pairs of answers to one thing that are equal."""
    equal = pairs = 0
    for unit in units:
        for place, answer in enumerate(unit):
            pairs += len(unit) - place - 1
            equal += sum(answer == other for other in unit[place + 1 :])
    return equal / pairs if pairs else None
