"""FID and KID: how far generated pictures are from real ones, as two sets.

Networks and resizers are clean-fid's and pytorch-fid's (``features.py``), the polynomial kernel is
torchmetrics'. The distance of the two Gaussians is computed here: clean-fid 0.1.35 calls
``scipy.linalg.sqrtm`` with an argument that SciPy 1.18 removed, and a square root of a product of
2048x2048 covariances that are singular below 2048 pictures is not a good road to a trace.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from vtonlab.evaluation.base import NotComputableError
from vtonlab.evaluation.features import shared_features
from vtonlab.registry import METRICS


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of vectors (n, D), (m, D).

    ``|mu1 - mu2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)`` with unbiased covariances. With
    ``C = F'F`` the last trace is the sum of singular values of ``F1 F2'``: exact, real and
    non-negative for singular covariances too.
    """
    (mean1, factor1), (mean2, factor2) = _gaussian(first), _gaussian(second)
    overlap = np.linalg.svd(factor1 @ factor2.T, compute_uv=False).sum()
    spread = np.square(factor1).sum() + np.square(factor2).sum()
    return float(np.square(mean1 - mean2).sum() + spread - 2 * overlap)


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and a factor F (k, D), k <= D, with F'F the covariance."""
    features = features.astype(np.float64)
    mean = features.mean(0)
    factor = (features - mean) / np.sqrt(len(features) - 1)
    if factor.shape[0] > factor.shape[1]:
        factor = np.linalg.qr(factor, mode="r")
    return mean, factor


def kernel_distances(
    generated: np.ndarray, real: np.ndarray, subsets: int, size: int, seed: int
) -> np.ndarray:
    """Unbiased squared MMD (cubic polynomial kernel, torchmetrics) of ``subsets`` pairs of random
    subsets of ``size`` vectors; (subsets,) float64. The same seed draws the same subsets.
    """
    from torchmetrics.image.kid import poly_mmd

    rng = np.random.default_rng(seed)
    sides = [torch.from_numpy(side.astype(np.float64)) for side in (real, generated)]
    draws = []
    for _ in range(subsets):
        parts = [side[rng.permutation(len(side))[:size]] for side in sides]
        draws.append(poly_mmd(*parts).item())
    return np.array(draws)


class SetMetric(BaseMetric):
    """Base class of metrics on two sets of pictures.

    ``process`` adds generated pictures and, unless ``add_real`` is used (a folder's whole content,
    the training set), their true pictures as the real set. A real person that several pairs share
    counts once.

    Args:
        features: ``"clean-fid"``, ``"pytorch-fid"``, ``"clip"`` or ``"dino"``.
        prefix: of the numbers' names, such as ``clip_``.
        by_category: also one number per garment category, where there are several.
    """

    default_prefix = ""  # numbers keep their names
    needs = ("image",)

    def __init__(
        self,
        *,
        features: str = "clean-fid",
        prefix: str = "",
        by_category: bool = False,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.features = shared_features(features)
        self.number_prefix, self.by_category = prefix, by_category
        self.directions = {name: "down" for name in self.names}
        self.refused: dict[str, str] = {}
        self._reals_given = False

    @property
    def names(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def weights(self):
        return self.features.weights

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """``generated`` (else ``image``), and ``real`` (else ``target``, else ``person``)."""
        for sample in data_samples:
            category = sample.get("category")
            picture = sample["generated"] if "generated" in sample else sample["image"]
            row = dict(side="generated", category=category, key=len(self.results))
            self.results.append(row | {"vector": self.features(picture)})
            if not self._reals_given:
                key = next(k for k in ("real", "target", "person") if k in sample)
                self._add_real(sample["id"], category, sample[key])

    def add_real(self, key: str, category: str | None, picture: np.ndarray) -> None:
        """One picture of a real set that is not the pairs' own."""
        self._reals_given = True
        self._add_real(key, category, picture)

    def _add_real(self, key: str, category: str | None, picture: np.ndarray) -> None:
        row = dict(side="real", category=category, key=key)
        self.results.append(row | {"vector": self.features(picture)})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The numbers over all pictures, and per category; ``refused`` says which of the latter
        there cannot be (few pictures, a real set without categories), and why.
        """
        numbers = self.compare(*_sides(results))
        categories = sorted({row["category"] for row in results if row["category"]})
        if self.by_category and len(categories) > 1:
            for category in categories:
                part = [row for row in results if row["category"] == category]
                try:
                    found = self.compare(*_sides(part))
                except NotComputableError as error:
                    self.refused |= {f"{name}/{category}": str(error) for name in self.names}
                    continue
                numbers |= {f"{name}/{category}": value for name, value in found.items()}
        return numbers

    def compare(self, generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
        """Numbers of two sets of vectors."""
        raise NotImplementedError


def _sides(results: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    generated = [row["vector"] for row in results if row["side"] == "generated"]
    real = {row["key"]: row["vector"] for row in results if row["side"] == "real"}
    _need(len(generated) >= 2 and len(real) >= 2, lambda: (
        f"a distance of two sets needs two pictures on each side, here are {len(generated)} "
        f"generated and {len(real)} real ones"
    ))  # fmt: skip
    return np.stack(generated), np.stack(list(real.values()))


def _need(condition: bool, sentence: Callable[[], str]) -> None:
    if not condition:
        raise NotComputableError(sentence())


@METRICS.register_module()
class FID(SetMetric):
    """Frechet Inception distance; with ``features="clip"`` the CLIP-FID (``prefix="clip_"``)."""

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.number_prefix}fid",)

    def describe(self) -> str:
        return f"FID {self.features.name}"

    def compare(self, generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
        return {self.names[0]: frechet_distance(generated, real)}


@METRICS.register_module()
class KID(SetMetric):
    """Kernel Inception distance times 1000, mean and standard deviation over random subsets.

    Args:
        subsets, subset_size: of the estimate; the published default is 100 of 1000.
        seed: of the subsets; other tools draw anew each time, about 1 % apart.
        shrink: take smaller subsets where there are fewer pictures, as clean-fid does without
            saying so; else that is an error.
    """

    def __init__(
        self,
        *,
        features: str = "clean-fid",
        prefix: str = "",
        by_category: bool = False,
        subsets: int = 100,
        subset_size: int = 1000,
        seed: int = 0,
        shrink: bool = False,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(
            features=features,
            prefix=prefix,
            by_category=by_category,
            collect_device=collect_device,
        )
        self.subsets, self.subset_size, self.seed, self.shrink = subsets, subset_size, seed, shrink
        self.directions = {self.names[0]: "down"}

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.number_prefix}kid_x1000", f"{self.number_prefix}kid_x1000_std")

    def describe(self) -> str:
        size = f"{'up to ' if self.shrink else ''}{self.subset_size}"
        return f"KID x1000 {self.features.name}, {self.subsets} subsets of {size}, seed {self.seed}"

    def compare(self, generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
        fewest = min(len(generated), len(real))
        size = min(self.subset_size, fewest) if self.shrink else self.subset_size
        _need(size <= fewest, lambda: (
            f"KID takes subsets of {size} pictures, the smaller side has {fewest}; set the "
            f"protocol's KID to a smaller subset_size"
        ))  # fmt: skip
        draws = 1000 * kernel_distances(generated, real, self.subsets, size, self.seed)
        return dict(zip(self.names, (float(draws.mean()), float(draws.std())), strict=True))
