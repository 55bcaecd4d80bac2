"""Does attention land where the garment point truly is?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vtonlab.evaluation.base import PairMetric
from vtonlab.registry import METRICS
from vtonlab.structures.sample import key_of
from vtonlab.structures.truth import true_points


def correct_matches(
    argmax: Tensor, truth: Tensor, key_grid: tuple[int, int], tolerance: float = 1.0
) -> Tensor:
    """Which attended keys lie within ``tolerance`` tokens of the truth in both axes (Chebyshev).

    ``argmax`` (..., N) key indices, ``truth`` (..., N, 2) garment points in [0, 1]; returns bool
    (..., N).
    """
    height, width = key_grid
    columns = _near(argmax % width, truth[..., 0], width, tolerance)
    return columns & _near(argmax // width, truth[..., 1], height, tolerance)


def chance_level(truth: Tensor, key_grid: tuple[int, int], tolerance: float = 1.0) -> Tensor:
    """Share of keys that would count as correct for each of ``truth`` (N, 2): what guessing scores;
    (N,).
    """
    shares = []
    for axis, count in enumerate(reversed(key_grid)):  # both must hit: the shares multiply
        hits = _near(torch.arange(count), truth[:, axis, None], count, tolerance)
        shares.append(hits.float().mean(-1))
    return shares[0] * shares[1]


def _near(place: Tensor, truth: Tensor, count: int, tolerance: float) -> Tensor:
    """Which centres of places among ``count`` along an axis lie within ``tolerance`` places of
    ``truth``, in [0, 1].
    """
    return (place.to(truth.dtype) + 0.5 - truth * count).abs() <= tolerance + 1e-6


@METRICS.register_module()
class AttentionPCK(PairMetric):
    """``attention_pck``: share of visible garment queries whose most attended garment key is right.

    The most attended key is that of the head mean, under attention given the garment, at the
    model's ``probe`` noise level. A query counts where the true flow at its token is visible. Each
    layer of the probe is scored over all queries of all pictures. ``attention_pck`` is the best of
    ``layers`` (the supervised ones), reported with its ``garment_mass`` over the same queries and
    the ``chance`` level; ``attention_pck_any_layer`` is the best of all layers that were read.

    PCK asks where attention is centred. How sharp it is, over the same queries of the same layer:
    ``true_share``, the head mean's attention given the garment on the (bilinear) true cells, and
    ``true_share_head`` that of the head which has most, ``attention_pck_head``, counted from 0;
    ``effective_cells``, exp of the head mean's entropy; and ``drawn_error``, the error on visible
    garment pixels of the picture that attention alone would draw, each key giving its garment
    patch.

    Args:
        layers: names of the supervised layers; None takes all that the probe reads.
        tolerance: in tokens.
        truth: ``"flow"``, or ``"correspondences"``: the mean of the matches in a token, where a
            matcher found any; agreement with the matcher then, not truth.
        reference: role of the picture that the keys are of: with ``"garment_2"`` all names end in
            ``_2``, with ``"worn"`` in ``_worn``, and the truth is that reference's.
    """

    names = ("attention_pck",)
    directions = {
        "attention_pck": "up",
        "attention_pck_any_layer": "up",
        "garment_mass": "up",
        "true_share": "up",
        "true_share_head": "up",
        "effective_cells": "down",
        "drawn_error": "down",
    }
    needs = ("attention", "flow")

    def __init__(
        self,
        *,
        layers: Sequence[str] | None = None,
        tolerance: float = 1.0,
        truth: str = "flow",
        reference: str = "garment",
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(collect_device=collect_device)
        if layers is not None and not layers:
            raise ValueError("layers is empty: give names, or None for all that the probe reads")
        if truth not in ("flow", "correspondences"):
            raise ValueError(f"truth={truth!r}: choose 'flow' or 'correspondences'")
        self.layers, self.tolerance = layers, tolerance
        self.attention, self.truth = key_of("attention", reference), key_of(truth, reference)
        self._known, self._ending = truth, key_of("", reference)
        self.directions = {name + self._ending: way for name, way in self.directions.items()}
        self.names = ("attention_pck" + self._ending,)
        self.needs = (self.attention, self.truth)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Needs ``attention`` and the ``truth`` in each result of the model.

        Raises:
            ValueError: the model has no ``probe``, or the data set does not know the truth.
        """
        for sample in data_samples:
            if self.attention not in sample or self.truth not in sample:
                lacks = self.attention not in sample
                missing = "probe in the model" if lacks else f"{self.truth} in the data"
                if lacks and self._ending:
                    missing += " and that reference in the conditioner's `supervise`"
                raise ValueError(f"AttentionPCK needs a {missing}: add it or drop the metric")
            attention = sample[self.attention]
            self.results.append({k: self._score(v, sample) for k, v in attention.items()})

    def _score(self, attention: dict, sample: dict) -> dict[str, float]:
        query_grid, key_grid = attention["grids"]
        known = {self._known: [sample[self.truth]]}
        truth, valid = true_points(known, 0, query_grid, self._known)
        right = correct_matches(attention["argmax"][valid], truth[valid], key_grid, self.tolerance)
        row = dict(
            queries=int(valid.sum()),
            right=float(right.sum()),
            mass=float(attention["mass"][valid].sum()),
            chance=float(chance_level(truth[valid], key_grid, self.tolerance).sum()),
        )
        if "true_share" in attention:
            row["heads"] = attention["true_share"][:, valid].sum(1).tolist()
            row["effective_cells"] = float(attention["entropy"][valid].exp().sum())
        if "drawn" in attention:
            row["drawn"], row["pixels"] = attention["drawn"].tolist()
        return row

    def compute_metrics(self, results: list[dict]) -> dict:
        """Layers pooled over pictures; every visible query weighs the same."""
        layers = {}
        for name in results[0]:
            keys = [k for k in results[0][name] if k != "heads"]
            total = {k: sum(r[name][k] for r in results) for k in keys}
            count = max(total["queries"], 1)
            per_query = [k for k in total if k not in ("queries", "drawn", "pixels")]
            layers[name] = {k: total[k] / count for k in per_query}
            if "heads" in results[0][name]:
                layers[name] |= _of_heads([r[name]["heads"] for r in results], count)
            if "drawn" in total:
                layers[name]["drawn_error"] = total["drawn"] / max(total["pixels"], 1)
        best = self._best(results)
        metrics = {
            "attention_pck": layers[best]["right"],
            "attention_pck_any_layer": max(layer["right"] for layer in layers.values()),
            "attention_pck_layer": best,
            "attention_pck_chance": layers[best]["chance"],
            "garment_mass": layers[best]["mass"],
            "attention_pck_queries": sum(r[best]["queries"] for r in results),
        }
        sharpness = ("true_share", "true_share_head", "attention_pck_head")
        sharpness += ("effective_cells", "drawn_error")
        metrics |= {key: layers[best][key] for key in sharpness if key in layers[best]}
        metrics |= {f"attention_pck/{name}": layer["right"] for name, layer in layers.items()}
        return {self._named(name): value for name, value in metrics.items()}

    def _named(self, name: str) -> str:
        """With the reference's ending, before the name of a layer."""
        first, slash, layer = name.partition("/")
        return first + self._ending + slash + layer

    def columns(self, results: list[dict]) -> list[dict[str, float | None]]:
        """Each pair's share of right queries and mass in the best layer; None where none is
        visible.
        """
        rows = self._of_best(results)
        keys = (("attention_pck", "right"), ("garment_mass", "mass"))
        return [
            {
                self._named(name): row[key] / row["queries"] if row["queries"] else None
                for name, key in keys
            }
            for row in rows
        ]

    def pair_weights(self, results: list[dict]) -> dict[str, list[float]]:
        """Each visible query weighs the same, so a pair as much as it has of them."""
        queries = [row["queries"] for row in self._of_best(results)]
        return {self._named(name): queries for name in ("attention_pck", "garment_mass")}

    def _of_best(self, results: list[dict]) -> list[dict]:
        """Each pair's sums in the layer that is best over all."""
        best = self._best(results)
        return [row[best] for row in results]

    def _best(self, results: list[dict]) -> str:
        """The layer with the best share of right queries over all pairs: layers of finer grids have
        more of them.
        """
        layers = list(results[0])
        supervised = [name for name in layers if self.layers is None or name in self.layers]
        if not supervised:
            raise ValueError(
                f"AttentionPCK.layers {list(self.layers)} is none of the probe's {layers}"
            )

        def share(name: str) -> float:
            count = sum(row[name]["queries"] for row in results)
            return sum(row[name]["right"] for row in results) / max(count, 1)

        return max(supervised, key=share)


def _of_heads(shares: list[list[float]], count: int) -> dict[str, float]:
    """What the heads have on the true cells, from their sums over each picture's queries."""
    heads = torch.tensor(shares, dtype=torch.float64).sum(0) / count
    return dict(
        true_share=float(heads.mean()),
        true_share_head=float(heads.max()),
        attention_pck_head=int(heads.argmax()),
    )
