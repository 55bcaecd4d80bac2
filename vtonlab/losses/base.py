"""What every attention loss shares: layers, gate, schedule, and the one reduction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from vtonlab.losses.queries import QuerySet, evenly_spread
from vtonlab.losses.record_views import (
    known_garment_mass,
    mean_logit,
    take_heads,
    take_queries,
)
from vtonlab.losses.supervised_batch import SupervisedBatch
from vtonlab.losses.weights import check_weight
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.sample import reference_keys

MASS_QUERIES = 256  # of a sample and layer, that the garment mass is the mean of


class AttentionLoss(nn.Module):
    """A loss over attention records; subclasses say what one layer costs each sample.

    The reduction is always: mean within a sample, then mean over **all** samples of the batch,
    where a sample without supervision, outside the gate or with its whole garment hidden by a mask
    counts zero. Means over the ranks of a
    distributed run therefore agree with the mean over the whole batch, and the loss's own
    parameters always join the graph. Samples that no gate lets in may be left out beforehand
    (`vtonlab.losses.supervision`); they count zero all the same.

    Args:
        weight: factor of the loss.
        layers: names or glob patterns of the records to supervise; None supervises every record.
        t_max: supervise only samples with timestep < t_max, on the 0..1000 scale of every schedule;
            None for all.
        start_iter: training step at which the loss sets in.
        warmup_iters: steps over which the weight then grows linearly to its full value.
        end_iter: training step at which the loss is over and costs nothing more; None for never.
        cooldown_iters: steps before ``end_iter`` over which the weight falls linearly to 0.
        head_reduction: "mean" supervises the head-averaged map, "none" each head (their losses are
            averaged), "mean_logit" the map of the head-averaged logits.
        heads: numbers of the heads to supervise, from 0 on; None supervises all. A head that is
            left out may go on looking at the person.
        layer_reduction: "mean" or "sum" over the supervised layers.
        sample_reduction: "mean" over the samples of the batch, or "sum" as in SIFT-VTON's released
            code (the effective weight then grows with the batch).
        reference: role of the picture whose records and matches it reads: the garment, or of
            several one other (``"garment_2"``), or the photograph of somebody who wears it
            (``"worn"``); see ``vtonlab.structures.sample``.

    Raises:
        ValueError: a setting outside its range, or an unknown reduction.
    """

    head_reductions: tuple[str, ...] = ("mean", "none", "mean_logit")
    reads_whole_batch = False  # True where samples outside the gate change the others' loss

    def __init__(
        self,
        *,
        weight: float = 1.0,
        layers: Sequence[str] | None = None,
        t_max: float | None = None,
        start_iter: int = 0,
        warmup_iters: int = 0,
        end_iter: int | None = None,
        cooldown_iters: int = 0,
        head_reduction: str = "mean",
        layer_reduction: str = "mean",
        sample_reduction: str = "mean",
        reference: str = "garment",
        heads: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(layers, str):
            raise ValueError(f"layers must be a list of names or patterns; write [{layers!r}]")
        if layers is not None and not layers:
            raise ValueError("layers is empty; give names or patterns, or None for every layer")
        self.choose("head_reduction", head_reduction, self.head_reductions)
        self.choose("layer_reduction", layer_reduction, ("mean", "sum"))
        self.choose("sample_reduction", sample_reduction, ("mean", "sum"))
        if heads is not None and not _are_heads(heads):
            raise ValueError(f"heads={heads!r}: a list of numbers from 0 on, each once, or None")
        check_weight("weight", weight)
        _check_times(start_iter, warmup_iters, end_iter, cooldown_iters)
        if t_max is not None and not 0 < t_max <= 1000:
            raise ValueError(f"t_max={t_max}: within (0, 1000], or None for every timestep")
        self.weight = weight
        self.layers = None if layers is None else list(layers)
        self.t_max = t_max
        self.start_iter = start_iter
        self.warmup_iters = warmup_iters
        self.end_iter = end_iter
        self.cooldown_iters = cooldown_iters
        self.head_reduction = head_reduction
        self.layer_reduction = layer_reduction
        self.sample_reduction = sample_reduction
        self.reference = reference
        self.heads = None if heads is None else tuple(heads)

    def forward(
        self,
        records: Sequence[AttentionRecord],
        batch: Mapping,
        *,
        timesteps: Tensor,
        step: int,
    ) -> dict[str, Tensor]:
        """The weighted loss and what to log with it.

        Args:
            records: what the conditioner left, in execution order.
            batch: the preprocessed batch; each loss names the keys it reads. A `SupervisedBatch`
                of some samples goes with records and timesteps of these alone.
            timesteps: ``(B,)`` on the 0..1000 scale.
            step: training iteration, for ``start_iter`` and ``warmup_iters``.

        Returns:
            ``loss`` scalar, weighted, in the graph; detached monitors ``value`` (the loss itself,
            unweighted, over the samples it acted on), ``active`` (their share of the batch) and
            ``garment_mass`` (share of the softmax that falls on the garment, over heads and
            supervised queries, at most ``MASS_QUERIES`` of each sample, evenly spread).
        """
        batch = SupervisedBatch.of(batch, len(timesteps)).of_reference(self.reference)
        chosen = [take_heads(record, self.heads) for record in self.select(records, batch)]
        self._check_sizes(chosen, timesteps)
        with torch.autocast(chosen[0].query.device.type, enabled=False):
            results = [self.sample_values(self.merged(r), batch) for r in chosen]
            values = [where_seen(r, value) for r, (value, _) in zip(chosen, results, strict=True)]
            values = torch.stack(values)  # (L, B)
            values = values.mean(0) if self.layer_reduction == "mean" else values.sum(0)
            gated = values * self.gate(timesteps, values)
            total = gated.sum() / (batch.size if self.sample_reduction == "mean" else 1)
            loss = self._joined(total * (self.weight * self.ramp(step)))
            queries = [q for _, q in results]
            monitors = self._monitors(chosen, queries, gated.detach(), timesteps, batch.size)
        return {"loss": loss, **monitors}

    def idle(self, device: torch.device, step: int) -> dict[str, Tensor]:
        """What `forward` gives where there is nothing to act on: no garment mass, and before
        ``start_iter`` no monitor at all, for they are not looked at.
        """
        nothing = torch.zeros((), device=device)
        loss = {"loss": self._joined(nothing)}
        return loss | (dict(value=nothing, active=nothing) if self.ramp(step) > 0.0 else {})

    def inside(self, timesteps: Tensor, step: int) -> Tensor:
        """Which samples the loss acts on at this step, bool ``(B,)``, where ``timesteps`` are."""
        acts = self.ramp(step) > 0.0
        return (timesteps < self._limit) & acts

    def _joined(self, loss: Tensor) -> Tensor:
        """The loss with all own parameters in its graph, so that ranks agree on gradients."""
        for parameter in self.parameters():
            loss = loss + 0.0 * parameter.sum()
        return loss

    def sample_values(
        self, record: AttentionRecord, batch: Mapping
    ) -> tuple[Tensor, QuerySet | None]:
        """Loss of one layer for each sample and the queries it supervised (None: all of them).

        ``(B,)``, zero without supervision. The record has one head if ``head_reduction`` is
        "mean_logit".
        """
        raise NotImplementedError

    def accepts(self, record: AttentionRecord, batch: Mapping) -> bool:
        """Whether a rule of the loss itself (a grid, say) admits this layer."""
        return True

    def select(self, records: Sequence[AttentionRecord], batch: Mapping) -> list[AttentionRecord]:
        """The records this loss supervises, in execution order.

        Raises:
            ValueError: a pattern matches no record, or no record is left; lists what exists.
        """
        roles = [r.reference for r in records]
        if records and self.reference not in roles:
            raise ValueError(
                f"{type(self).__name__}: no record is of reference {self.reference!r}, only of "
                f"{', '.join(dict.fromkeys(roles))}: add it to the conditioner's `supervise`"
            )
        records = [r for r in records if r.reference == self.reference]
        names = [r.name for r in records]
        for pattern in self.layers or ():
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"{type(self).__name__}: layers pattern {pattern!r} matches no attention "
                    f"record; there are {', '.join(names) or 'none'}"
                )
        chosen = [
            r
            for r in records
            if self.layers is None or any(fnmatchcase(r.name, p) for p in self.layers)
        ]
        admitted = [r for r in chosen if self.accepts(r, batch)]
        if not admitted:
            found = ", ".join(f"{r.name} {r.query_grid}" for r in chosen) or "none"
            raise ValueError(f"{type(self).__name__} supervises no attention record; found {found}")
        return admitted

    def merged(self, record: AttentionRecord) -> AttentionRecord:
        """The record, with one head of mean logits where the loss asks for it."""
        return mean_logit(record) if self.head_reduction == "mean_logit" else record

    def gate(self, timesteps: Tensor, like: Tensor) -> Tensor:
        """1 for the samples inside the timestep gate, 0 for the others, ``(B,)``.

        Samples that train without their garment stand at infinity, outside every gate.
        """
        return (timesteps.to(like.device) < self._limit).to(like.dtype)

    @property
    def _limit(self) -> float:
        return math.inf if self.t_max is None else self.t_max

    def ramp(self, step: int) -> float:
        """Share of the weight that acts at a step: 0 before ``start_iter``, then linear up to 1;
        linear down to 0 at ``end_iter``.
        """
        share = float(step >= self.start_iter)
        if self.warmup_iters:
            share = min(max((step - self.start_iter + 1) / self.warmup_iters, 0.0), 1.0)
        if self.end_iter is None:
            return share
        left = max(self.end_iter - step, 0)
        return share * min(left / max(self.cooldown_iters, 1), 1.0)

    def require(self, batch: Mapping, key: str, hint: str):
        """``batch[key]``, or a ``ValueError`` that names the key and the way out."""
        if key not in batch:
            named = reference_keys(self.reference).get(key, key)
            raise ValueError(
                f"{type(self).__name__} needs {named!r} in the batch, which has "
                f"{', '.join(sorted(map(str, batch)))}; {hint}"
            )
        return batch[key]

    def choose(self, name: str, value: str, options: Sequence[str]) -> None:
        """``ValueError`` unless ``value`` is one of ``options``."""
        if value not in options:
            listed = ", ".join(map(repr, options))
            raise ValueError(
                f"{type(self).__name__}: {name} must be one of {listed}, not {value!r}"
            )

    def _check_sizes(self, records: Sequence[AttentionRecord], timesteps: Tensor) -> None:
        for record in records:
            if len(record.query) != len(timesteps):
                raise ValueError(
                    f"attention record {record.name!r} holds {len(record.query)} samples but there "
                    f"are {len(timesteps)} timesteps; record one conditional pass, without guidance"
                )

    def _monitors(
        self, records, queries, gated: Tensor, timesteps: Tensor, size: int
    ) -> dict[str, Tensor]:
        supervised = torch.ones_like(gated)
        if queries[0] is not None:
            supervised = (queries[0].count > 0).to(gated.dtype)
        active = supervised * self.gate(timesteps, gated)
        mass = torch.stack([garment_mass(r, q) for r, q in zip(records, queries, strict=True)])
        return {
            "value": gated.sum() / active.sum().clamp(min=1),
            "active": active.sum() / size,
            "garment_mass": mass.mean(),
        }


def _check_times(start: int, warmup: int, end: int | None, cooldown: int) -> None:
    """``ValueError`` unless a loss sets in, and ends after it has set in."""
    times = dict(start_iter=start, warmup_iters=warmup, cooldown_iters=cooldown)
    for name, value in times.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value}: a number from 0 on is needed")
    if end is None and cooldown:
        raise ValueError(f"cooldown_iters={cooldown}: give end_iter, the step it leads to")
    if end is not None and not max(start + cooldown, start + 1) <= end < math.inf:
        raise ValueError(
            f"end_iter={end}: a step after start_iter={start} with room for "
            f"cooldown_iters={cooldown}, or None"
        )


def _are_heads(heads) -> bool:
    """Whether these are numbers of heads, each once."""
    if not isinstance(heads, (list, tuple)) or not heads:
        return False
    return all(type(head) is int and head >= 0 for head in heads) and len({*heads}) == len(heads)


def where_seen(record: AttentionRecord, values: Tensor) -> Tensor:
    """Values (B,) of a layer, zero for samples whose whole garment a mask hides."""
    seen = record.has_garment
    return values if seen is None else torch.where(seen, values, torch.zeros_like(values))


def garment_mass(record: AttentionRecord, queries: QuerySet | None) -> Tensor:
    """Mean garment mass over heads and supervised queries, over the samples that have any (scalar),
    of at most ``MASS_QUERIES`` queries of each.

    Where it is known that no sample has any, over all queries: the map exists all the same.
    """
    if queries is None or queries.nowhere:
        queries = evenly_spread(record, MASS_QUERIES)
    queries = queries.thinned(MASS_QUERIES)
    mass = known_garment_mass(take_queries(record, queries)).mean(1)  # (B, Q)
    return queries.mean(mass).sum() / (queries.count > 0).sum().clamp(min=1)
