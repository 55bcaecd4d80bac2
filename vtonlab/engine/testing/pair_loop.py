"""The test loop: batches of pairs, each noted in a journal, so that a killed test goes on.

What is drawn is drawn from a pair's own seed, but a picture's last bits depend on the batch it is
computed in, since matrix products do. Batches are therefore blocks of the list, the same for any
number of ranks and after a restart, which draws a block that it finds half done again as a whole:
ranks and restarts change no bit, another batch size moves pictures by rounding alone.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from vtonlab.evaluation.base import NotComputableError, NotGivenError
from vtonlab.registry import LOOPS
from vtonlab.structures.pair_store import write_atomic
from vtonlab.utils.bounded import FileError, read_json, reason_of
from vtonlab.utils.progress import Progress

JOURNAL = "pairs"


class Journal:
    """One small JSON file per pair: its names, and what each metric noted of it.

    It is written last, after the pair's pictures: a pair is done if its file is there.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder) / JOURNAL

    def path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.json"

    def done(self, count: int) -> set[int]:
        """Indices below ``count`` that are noted."""
        return {index for index in range(count) if self.path(index).is_file()}

    def write(self, index: int, entry: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path(index), json.dumps(entry).encode())

    def read(self, count: int) -> list[dict[str, Any]]:
        """All entries in order.

        Raises:
            ValueError: some are missing or damaged.
        """
        missing = [index for index in range(count) if not self.path(index).is_file()]
        if missing:
            raise ValueError(
                f"{len(missing)} of {count} pairs are not in {self.folder}: all processes must see "
                f"one file system; run the same command again to draw them"
            )
        return [self.entry(index) for index in range(count)]

    def entry(self, index: int) -> dict[str, Any]:
        """The entry of a pair that is noted.

        Raises:
            ValueError: it is damaged.
        """
        try:
            return read_json(self.path(index))
        except ValueError as error:
            raise FileError(
                f"{self.path(index)} is damaged ({reason_of(error)}): delete it"
            ) from None


@LOOPS.register_module()
class PairTestLoop(BaseLoop):
    """Tests every pair that the journal in the runner's work directory does not hold yet.

    After it, ``entries`` is the whole journal in order, on every rank. ``refused`` says of metrics
    that could not be computed why. Metrics must note one plain row per result.

    Args:
        runner: mmengine runner.
        dataloader: its sampler is an `EvalSampler`.
        evaluator: metrics of the model's own results (attention, errors before repaint).
        unpaired: results have no true picture unless the data give one: their ``target`` is
            dropped.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Any,
        *,
        unpaired: bool = False,
    ) -> None:
        super().__init__(runner, dataloader)
        built = isinstance(evaluator, (dict, list))
        self.evaluator = runner.build_evaluator(evaluator) if built else evaluator
        self.unpaired = unpaired
        self.journal = Journal(runner.work_dir)
        self.refused: dict[int, str] = {}
        self.entries: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """Draw what is missing; returns the metrics over all pairs."""
        count = len(self.dataloader.dataset)
        done = self.journal.done(count)
        refusals = self._refusals(done)
        barrier()  # every rank has looked before any writes
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        self.runner.model.eval()
        self._draw(count, done - {min(indices) for indices in refusals.values()})
        barrier()
        answered = self._answered(refusals)
        barrier()
        if answered:
            self._draw(count, set(range(count)) - answered)
            barrier()
        self.entries = self.journal.read(count)
        metrics = self._compute()
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        return metrics

    def _refusals(self, done: set[int]) -> dict[int, set[int]]:
        """Place of each metric that refused in an earlier run, for a reason that may be gone by
        now: the pairs. It is asked again at the first of them.
        """
        found: dict[int, set[int]] = {}
        for index in done:
            for place, row in enumerate(self.journal.entry(index)["rows"]):
                if _refused(row) and not row.get("lasting"):
                    found.setdefault(place, set()).add(index)
        return found

    def _answered(self, refusals: Mapping[int, set[int]]) -> set[int]:
        """Pairs whose metric has answered now where it was asked again: it is asked at all."""
        return {
            index
            for place, indices in refusals.items()
            if not _refused(self.journal.entry(min(indices))["rows"][place])
            for index in indices - {min(indices)}
        }

    def _draw(self, count: int, done: set[int]) -> None:
        """Draw and note, in blocks, the pairs below ``count`` that are not ``done``."""
        sampler = self.dataloader.sampler
        size = self.dataloader.batch_size
        blocks = [range(n, min(n + size, count)) for n in range(0, count, size)]
        blocks = [block for block in blocks if not done.issuperset(block)]
        sampler.restrict([index for block in blocks for index in block], size)
        mine = sampler.own()
        progress, total = Progress("pairs"), len(mine)
        drawn = 0
        for batch in self.dataloader if total else ():
            indices = mine[drawn : drawn + size]
            self._run_batch(indices, batch, done)
            drawn += len(indices)
            if sampler.rank == 0 and total > 1:
                progress(drawn, 0, total)

    @torch.no_grad()
    def _run_batch(self, indices: Sequence[int], batch: dict, done: set[int]) -> None:
        """Draw all pairs of a batch at once, then note each that is not ``done``."""
        self.runner.call_hook("before_test_iter", batch_idx=indices[0], data_batch=batch)
        results = self.runner.model.test_step(batch)
        for index, pair, result in zip(indices, split(batch), results, strict=True):
            if index not in done:
                self._note_pair(index, pair, result)

    def _note_pair(self, index: int, batch: dict, result: dict) -> None:
        if self.unpaired and "target" not in batch:
            result = {k: v for k, v in result.items() if k != "target"}
        rows = [self._note(metric, batch, [result]) for metric in self.evaluator.metrics]
        self.runner.call_hook(
            "after_test_iter", batch_idx=index, data_batch=batch, outputs=[result]
        )
        names = {k: batch[k][0] for k in ("id", "garment_id", "category") if k in batch}
        self.journal.write(index, names | {"index": index, "rows": rows})

    def _note(self, metric, batch: dict, outputs: Sequence[dict]) -> Any:
        """What a metric says of one pair, taken out of it; a refusal as ``{"why": ...}``, with
        ``lasting`` where a later run need not ask again.
        """
        try:
            metric.process(batch, outputs)
        except NotGivenError as error:
            return {"why": str(error), "lasting": True}
        except NotComputableError as error:
            return {"why": str(error)}
        if len(metric.results) != 1:
            raise ValueError(
                f"test_evaluator: {type(metric).__name__} does not note one row per pair; metrics "
                f"of sets of pictures, such as FID, belong into a protocol"
            )
        return metric.results.pop()

    def _compute(self) -> dict[str, Any]:
        """Every metric over the journal's rows: the same numbers however the pairs were drawn."""
        numbers = {}
        for place, metric in enumerate(self.evaluator.metrics):
            rows = [entry["rows"][place] for entry in self.entries]
            refusals = [row["why"] for row in rows if _refused(row)]
            if refusals:
                self.refused |= dict.fromkeys(_names(metric), refusals[0])
                continue
            found = metric.compute_metrics(rows)
            prefix = f"{metric.prefix}/" if metric.prefix else ""
            numbers |= {prefix + name: value for name, value in found.items()}
        return numbers


def _refused(row: Any) -> bool:
    return isinstance(row, dict) and "why" in row


def _names(metric) -> tuple[str, ...]:
    return getattr(metric, "names", ()) or (type(metric).__name__,)


def split(batch: dict) -> Iterator[dict]:
    """A collated batch as batches of one pair each."""
    for place in range(len(next(iter(batch.values())))):
        yield {key: value[place : place + 1] for key, value in batch.items()}
