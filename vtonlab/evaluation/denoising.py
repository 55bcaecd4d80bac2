"""How well a network denoises pairs it was not trained on."""

from collections.abc import Sequence

from vtonlab.evaluation.base import NotGivenError, PairMetric, mean
from vtonlab.registry import METRICS


@METRICS.register_module()
class DenoisingLoss(PairMetric):
    """``denoising_loss``: the training loss of held-out pairs at fixed noise and noise levels, mean
    over the model's ``val_sigmas``; and ``denoising_loss/<level>`` for each of them.

    The training loss itself jumps with the noise levels that happen to be drawn; this one falls
    while a network learns, and rises where it begins to know its training pairs by heart.
    """

    names = ("denoising_loss",)
    directions = {"denoising_loss": "down"}
    needs = ("denoising",)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Needs ``denoising`` in each result of the model.

        Raises:
            NotGivenError: the model has no ``val_sigmas``.
        """
        for sample in data_samples:
            if "denoising" not in sample:
                raise NotGivenError("DenoisingLoss needs val_sigmas in the model")
            self.results.append(dict(sample["denoising"]))

    def compute_metrics(self, results: list[dict]) -> dict[str, float | None]:
        """Means over pairs; of all levels, and of each."""
        levels = {level: mean([row[level] for row in results]) for level in results[0]}
        bands = {f"denoising_loss/{level:g}": value for level, value in levels.items()}
        return {"denoising_loss": mean(list(levels.values())), **bands}
