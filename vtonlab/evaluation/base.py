"""What metrics share: one row of numbers per picture, averaged; and how a metric bows out."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

PERFECT_PSNR = 100.0  # dB, of equal pictures: infinity has no mean and no place in JSON


class NotComputableError(ValueError):
    """One sentence why a metric cannot be had here; the other metrics go on."""


class NotGivenError(NotComputableError):
    """It never can in this test: model, data or settings do not give what the metric reads. Other
    refusals, such as missing weights, may pass: a test that is run again asks once more.
    """


class PairMetric(BaseMetric):
    """Base class. A subclass says in ``score`` what one pair's numbers are.

    ``names`` are the numbers, ``directions`` says which way each is better (``"up"``, ``"down"``;
    facts have none), ``needs`` which keys a result must have. Results are the model's (see
    ``TryOnDiffusion.predict``) or those of ``vtonlab.evaluation.scoring``: ``image``, ``target``,
    ``person``, ``garment`` (H, W, 3) uint8 and masks (H, W). The value of the set is the mean over
    pictures; a number that a picture does not have is None and left out.
    """

    default_prefix = ""  # numbers keep their names
    names: tuple[str, ...] = ()
    directions: Mapping[str, str] = {}
    needs: tuple[str, ...] = ("image", "target")

    def __init__(self, *, collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device)

    def score(self, sample: dict) -> dict[str, float | None]:
        """Numbers of one pair."""
        raise NotImplementedError

    def pair_weights(self, results: Sequence[dict]) -> dict[str, list[float]]:
        """Number -> how much each pair counts in the value of the set, where not all alike."""
        return {}

    def describe(self) -> str:
        """Library and settings, for the protocol line."""
        return ""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """One row per result.

        Raises:
            NotGivenError: a key of ``needs`` is missing.
        """
        for sample in data_samples:
            missing = [key for key in self.needs if key not in sample]
            if missing:
                raise NotGivenError(
                    f"{type(self).__name__} needs {' and '.join(missing)} of {sample['id']!r}, "
                    f"which neither the model nor the data gives"
                )
            row = {key: sample[key] for key in ("id", "garment_id", "category") if key in sample}
            self.results.append(row | self.score(sample))

    def columns(self, results: list[dict]) -> list[dict[str, float | None]]:
        """The numbers of each pair, for the table."""
        skipped = ("id", "garment_id", "category")
        return [{k: v for k, v in row.items() if k not in skipped} for row in results]

    def compute_metrics(self, results: list[dict]) -> dict[str, float | None]:
        """Means over pictures."""
        return {name: mean([row.get(name) for row in results]) for name in self.names}


def mean(values: Sequence[float | None], weights: Sequence[float] | None = None) -> float | None:
    """(Weighted) mean of the numbers among ``values``; None if there are none."""
    there = [n for n, value in enumerate(values) if value is not None]
    if not there:
        return None
    counts = None if weights is None else [weights[n] for n in there]
    return float(np.average([values[n] for n in there], weights=counts))


def unit(picture: np.ndarray, device: str = "cpu") -> Tensor:
    """(H, W, 3) uint8 to (1, 3, H, W) float32 in [0, 1]."""
    tensor = torch.from_numpy(np.array(picture)).to(device)
    return tensor.permute(2, 0, 1)[None].float() / 255


def psnr(error: float, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error, at most `PERFECT_PSNR`."""
    return float(min(PERFECT_PSNR, 10 * np.log10(peak**2 / max(error, 1e-12))))
