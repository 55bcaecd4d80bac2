"""How sharply each person query looks at the garment."""

from collections.abc import Sequence

import numpy as np

from vtonlab.evaluation.base import NotGivenError, PairMetric, mean
from vtonlab.registry import METRICS


@METRICS.register_module()
class AttentionEntropy(PairMetric):
    """Entropy of the head-mean attention given the garment, divided by log of the garment's keys.

    0: every query looks at one key; 1: at all alike. Mean over the queries where the true flow is
    visible, or over all where it is not known; ``attention_entropy`` is the mean of ``layers``,
    ``attention_entropy/<layer>`` one of them.

    Args:
        layers: names of the supervised layers; None takes all that the probe reads.
    """

    names = ("attention_entropy",)
    directions = {}  # sharp is good only where it is right: read it beside attention_pck
    needs = ("attention",)

    def __init__(self, *, layers: Sequence[str] | None = None, collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device)
        self.layers = layers

    def describe(self) -> str:
        return "attention entropy / log(keys)"

    def score(self, sample: dict) -> dict[str, float | None]:
        found = {}
        for name, attention in sample["attention"].items():
            if self.layers is not None and name not in self.layers:
                continue
            query_grid, key_grid = attention["grids"]
            entropy = attention["entropy"].double().numpy() / np.log(key_grid[0] * key_grid[1])
            if "flow" in sample:
                entropy = entropy[sample["flow"].to_grid(query_grid)[1].cpu().numpy()]
            found[f"attention_entropy/{name}"] = float(entropy.mean()) if entropy.size else None
        if not found:
            raise NotGivenError(
                f"AttentionEntropy.layers {list(self.layers)} is none of the probe's "
                f"{list(sample['attention'])}"
            )
        return found | {"attention_entropy": mean(list(found.values()))}

    def compute_metrics(self, results: list[dict]) -> dict[str, float | None]:
        names = [key for key in results[0] if key.startswith("attention_entropy")]
        return {name: mean([row.get(name) for row in results]) for name in names}
