"""Where in a network does attention know the correspondence? Every block, every noise level."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vtonlab.evaluation.attention_pck import chance_level, correct_matches
from vtonlab.structures.sample import key_of
from vtonlab.structures.truth import true_points


@dataclass
class AttentionProbe:
    """Sums over pairs of what each block's attention got right at each noise level.

    Attributes:
        sigmas: noise levels in [0, 1], the columns of every table.
        layers: names in execution order, the rows; filled by the first :meth:`add`.
        ids: the pairs seen, in order.
        per_pair: name of pair -> right (L, S) and queries (S,) counts.
    """

    sigmas: Sequence[float]
    tolerance: float = 1.0
    layers: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    chance: float = 0.0
    per_pair: list[dict[str, np.ndarray]] = field(default_factory=list)

    def add(self, model, batch: dict, layers: Sequence[str]) -> None:
        """Read ``layers`` (name patterns) of ``model`` on one preprocessed batch at every level.

        ``model`` answers ``attention_records(batch, sigma, layers)``. The truth is ``flow`` where
        the batch has it, else ``correspondences`` (a matcher's, as the paper measures PCK); those
        of the reference that the records are of (``flow_worn``).

        Raises:
            ValueError: the batch has no truth, or no layer fits the patterns.
        """
        size = len(batch["id"])
        tables: list[dict[str, list]] = [{} for _ in range(size)]
        with torch.no_grad():
            for sigma in self.sigmas:
                records = model.attention_records(batch, sigma, layers)
                if not records:
                    raise ValueError(f"no attention layer of the network fits {list(layers)}")
                self.layers = [record.name for record in records]
                for record in records:
                    self._read(tables, record, batch)
        for place, table in enumerate(tables):
            self.ids.append(str(batch["id"][place]))
            shape = (len(self.sigmas), len(self.layers))
            counts = {k: np.asarray(v, float).reshape(shape).T for k, v in table.items()}
            self.per_pair.append(counts)

    def _read(self, tables: list[dict[str, list]], record, batch: dict) -> None:
        """One record over all samples of the batch, each into its own table."""
        found, masses = record.argmax().cpu(), record.garment_mass().mean(1).cpu()
        for place, table in enumerate(tables):
            index, truth = truth_of(batch, place, record.query_grid, record.reference)
            right = correct_matches(found[place, index], truth, record.key_grid, self.tolerance)
            rows = torch.full_like(index, place), index
            entropy = record.mean_map_entropy(rows=tuple(r.to(record.query.device) for r in rows))
            keys = record.key_grid[0] * record.key_grid[1]
            chance = chance_level(truth, record.key_grid, self.tolerance)
            for name, value in (
                ("queries", float(len(index))),
                ("right", float(right.sum())),
                ("entropy", float(entropy.sum()) / float(np.log(keys))),
                ("mass", float(masses[place, index].sum())),
                ("chance", float(chance.sum())),
            ):
                table.setdefault(name, []).append(value)

    def table(self, name: str) -> np.ndarray:
        """(layers, sigmas): ``right`` (the PCK), ``entropy`` (share of log Nk), ``mass`` or
        ``chance``, mean over all queries of all pairs.

        Raises:
            ValueError: no pair had a query with a known truth.
        """
        queries = sum(pair["queries"] for pair in self.per_pair)
        if not np.all(queries):
            raise ValueError("no pair has a single query whose truth is known: nothing to measure")
        return sum(pair[name] for pair in self.per_pair) / queries

    def best(self) -> tuple[str, float, float]:
        """Block, noise level and PCK of the highest cell."""
        table = self.table("right")
        row, column = np.unravel_index(int(table.argmax()), table.shape)
        return self.layers[row], float(self.sigmas[column]), float(table[row, column])

    def pck_of_pairs(self, layer: str, sigma: float) -> np.ndarray:
        """PCK of each pair at one cell, NaN where a pair has no query."""
        row, column = self.layers.index(layer), list(self.sigmas).index(sigma)
        right = np.array([pair["right"][row, column] for pair in self.per_pair])
        queries = np.array([pair["queries"][row, column] for pair in self.per_pair])
        return np.where(queries > 0, right / np.maximum(queries, 1), np.nan)

    def as_dict(self) -> dict:
        """Everything as plain numbers, for JSON."""
        layer, sigma, pck = self.best()
        tables = {k: self.table(k) for k in ("right", "entropy", "mass", "chance")}
        tables["pck"] = tables.pop("right")
        return {
            "best": {"layer": layer, "sigma": sigma, "pck": pck},
            "layers": self.layers,
            "sigmas": list(self.sigmas),
            "pairs": len(self.per_pair),
            "queries": int(sum(pair["queries"][0, 0] for pair in self.per_pair)),
            "tolerance_tokens": self.tolerance,
        } | {name: values.round(5).tolist() for name, values in tables.items()}


def truth_of(
    batch: dict, place: int, query_grid: tuple[int, int], reference: str = "garment"
) -> tuple[Tensor, Tensor]:
    """Queries of one sample whose point in a reference is known: index (Q,) int64, points (Q, 2).

    Raises:
        ValueError: the batch has no truth of that reference.
    """
    keys = {name: key_of(name, reference) for name in ("flow", "correspondences")}
    truths = {name: batch[key] for name, key in keys.items() if key in batch}
    if not truths:
        raise ValueError(
            f"probing attention to {reference!r} needs a truth: {' or '.join(keys.values())} "
            "(SyntheticTryOn has flows, a matcher finds correspondences: "
            "`matches=dict(matcher=...)` in the data set)"
        )
    points, known = true_points(truths, place, query_grid)
    index = known.nonzero()[:, 0]
    return index, points[index]


def correlations(pck: np.ndarray, metrics: dict[str, Iterable[float]]) -> dict[str, dict]:
    """Pearson's r of the pairs' PCK (N,) with each metric (N,), and its 95 % interval.

    The paper's Figure 2 relates PCK to LPIPS and SSIM this way (METHODS.md 1.1). The interval is
    Fisher's; None with fewer than 4 pairs or no spread.
    """
    found = {}
    for name, values in metrics.items():
        values = np.asarray(list(values), float)
        both = np.isfinite(pck) & np.isfinite(values)
        count = int(both.sum())
        if count < 4 or np.ptp(pck[both]) == 0 or np.ptp(values[both]) == 0:
            found[name] = dict(r=None, low=None, high=None, pairs=count)
            continue
        r = float(np.corrcoef(pck[both], values[both])[0, 1])
        middle, spread = np.arctanh(np.clip(r, -0.999999, 0.999999)), 1.96 / np.sqrt(count - 3)
        low, high = np.tanh([middle - spread, middle + spread])
        found[name] = dict(r=r, low=float(low), high=float(high), pairs=count)
    return found
