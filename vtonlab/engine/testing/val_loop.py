"""The validation loop: attention of every pair in one network call, pictures of a few pairs.

Drawing a picture takes as many network calls as the sampler steps, reading attention takes one.
So only what the metrics ask for is computed, and pictures of few pairs with few steps.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_world_size
from mmengine.evaluator import Evaluator
from mmengine.runner import ValLoop
from torch.utils.data import DataLoader

from vtonlab.datasets.samplers import SampleKey
from vtonlab.evaluation.base import NotComputableError, PairMetric
from vtonlab.registry import LOOPS
from vtonlab.structures.sample import MASKS, PICTURES


@LOOPS.register_module()
class PairValLoop(ValLoop):
    """Validates while training; the loop of every config whose ``val_cfg`` names no other.

    A metric says in ``needs`` which keys of a result it reads. Metrics that live on what the
    model's ``val_step`` gives (attention and flow, where it has a ``probe``) see all pairs. For the
    others pictures are drawn: of ``pictures`` pairs, spread evenly over the data, in ``steps``
    sampler steps at most. Each pair's noise is its own, as in testing, so the numbers of one model
    do not depend on which other pairs are drawn; they are lower than a test's, which takes more
    steps. Results also get the pair's own pictures and masks (``person``, ``garment_mask``, ...).

    Args:
        runner: mmengine runner.
        dataloader: its sampler is an `EvalSampler` where pictures are drawn.
        evaluator: metrics, one row per result; metrics of sets of pictures are for protocols.
        pictures: pairs that are drawn for metrics of pictures, at least 1.
        steps: most sampler steps of those pictures, at least 1.

    Raises:
        ValueError: ``pictures`` or ``steps`` below 1.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        *,
        pictures: int = 16,
        steps: int = 8,
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        if pictures < 1 or steps < 1:
            raise ValueError(f"val_cfg: pictures={pictures} and steps={steps} must both be >= 1")
        self.pictures, self.steps = pictures, steps
        self.of_pictures: list = []  # the metrics that pictures are drawn for; see `rehearse`
        self.of_all: list = list(self.evaluator.metrics)
        self.names: list[str] | None = None  # of the numbers, where the metrics tell beforehand
        self._rehearsed = False

    @torch.no_grad()
    def rehearse(self) -> None:
        """Score one pair and forget it: what a metric cannot get is said before training.

        Raises:
            ValueError: names the metric and what it lacks.
        """
        if self._rehearsed:
            return
        model = self.runner.model
        model.eval()
        dataset = self.dataloader.dataset
        batch = self.dataloader.collate_fn([dataset[SampleKey(0, 0)]])
        results = model.val_step(batch)
        given, metrics = set(results[0]), self.evaluator.metrics
        self.of_all = [m for m in metrics if set(getattr(m, "needs", ())) <= given]
        self.of_pictures = [m for m in metrics if m not in self.of_all]
        found = [_rehearse(metric, batch, results) for metric in self.of_all]
        if self.of_pictures:
            self._check_sampler()
            drawn = self._drawn(model, batch)
            found += [_rehearse(metric, batch, drawn) for metric in self.of_pictures]
        self.names = None if None in found else [name for names in found for name in names]
        self._rehearsed = True

    def _check_sampler(self) -> None:
        sampler = self.dataloader.sampler
        if not callable(getattr(sampler, "restrict", None)):
            names = ", ".join(type(metric).__name__ for metric in self.of_pictures)
            raise ValueError(
                f"val_evaluator: {names} needs pictures of a few pairs, which "
                f"{type(sampler).__name__} cannot pick: set val_dataloader.sampler="
                f"dict(type='EvalSampler')"
            )

    def run(self) -> dict[str, Any]:
        """Validate; returns the metrics."""
        self.rehearse()
        self.runner.call_hook("before_val")
        self.runner.call_hook("before_val_epoch")
        model, metrics = self.runner.model, {}
        model.eval()
        if self.of_all:
            count = len(self.dataloader.dataset)
            self._score(self.of_all, model.val_step)
            metrics |= Evaluator(self.of_all).evaluate(count)
        if self.of_pictures:
            metrics |= self._score_pictures(model)
        self.runner.call_hook("after_val_epoch", metrics=metrics)
        self.runner.call_hook("after_val")
        return metrics

    def _score_pictures(self, model) -> dict[str, Any]:
        chosen = spread(len(self.dataloader.dataset), self.pictures)
        surplus = -len(chosen) % get_world_size()  # all ranks take the same number of steps
        sampler = self.dataloader.sampler
        sampler.restrict([*chosen, *chosen[:surplus]] if surplus else chosen)
        try:
            self._score(self.of_pictures, lambda batch: self._drawn(model, batch))
        finally:
            sampler.restrict(None)
        return Evaluator(self.of_pictures).evaluate(len(chosen))

    @torch.no_grad()
    def _score(self, metrics: Sequence, results_of: Callable[[dict], list[dict]]) -> None:
        for place, batch in enumerate(self.dataloader):
            here = dict(batch_idx=place, data_batch=batch)
            self.runner.call_hook("before_val_iter", **here)
            outputs = results_of(batch)
            for metric in metrics:
                metric.process(batch, outputs)
            self.runner.call_hook("after_val_iter", **here, outputs=outputs)

    def _drawn(self, model, batch: dict) -> list[dict]:
        """Results with pictures, in few steps; true pictures only where the data have them."""
        with at_most(self.runner.bare_model, self.steps):
            results = model.test_step(batch)
        unpaired = getattr(self.dataloader.dataset, "setting", None) == "unpaired"
        if unpaired and "target" not in batch:
            results = [{k: v for k, v in r.items() if k != "target"} for r in results]
        return [given | result for given, result in zip(own_pictures(batch), results, strict=True)]


def spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``count`` places, evenly spread: data sets are sorted by category."""
    wanted = min(count, wanted)
    return [place * count // wanted for place in range(wanted)]


@contextmanager
def at_most(model, steps: int) -> Iterator[None]:
    """The model's sampler, where it has one, takes at most ``steps`` steps."""
    sampler = getattr(model, "sampler", None)
    if sampler is None:
        yield
        return
    own = sampler.num_steps
    sampler.num_steps = min(own, steps)
    try:
        yield
    finally:
        sampler.num_steps = own


def own_pictures(batch: dict) -> list[dict[str, np.ndarray]]:
    """Of each pair of a collated batch: its pictures (H, W, 3) and masks (H, W), uint8."""
    pairs = [{} for _ in range(len(batch["id"]))]
    for key in (*PICTURES, *MASKS):
        for place, value in enumerate(batch.get(key, ())):
            array = value.cpu().numpy()
            pairs[place][key] = array[0] if key in MASKS else array.transpose(1, 2, 0)
    return pairs


def _rehearse(metric, batch: dict, results: list[dict]) -> list[str] | None:
    """Names of the metric's numbers, from one pair that is forgotten; None where a metric of
    somebody else's may need more than one.
    """
    name = type(metric).__name__
    try:
        metric.process(batch, results)
    except NotComputableError as error:
        raise ValueError(
            f"val_evaluator: {error}; ask the data set for it (val_dataloader.dataset.maps), or "
            f"drop {name}"
        ) from None
    except KeyError as error:
        raise ValueError(
            f"val_evaluator: {name} reads {error}, which the model's results do not hold: a metric "
            f"names what it reads of a result in its `needs`"
        ) from None
    except ValueError as error:
        raise ValueError(f"val_evaluator: {error}") from None
    rows = list(metric.results)
    metric.results.clear()
    if len(rows) != len(results):
        raise ValueError(
            f"val_evaluator: {name} does not note one row per pair; metrics of sets of pictures, "
            f"such as FID, belong into a protocol (tools/test.py --protocol)"
        )
    if not isinstance(metric, PairMetric):
        return None
    prefix = f"{metric.prefix}/" if metric.prefix else ""
    return [prefix + key for key in metric.compute_metrics(rows)]
