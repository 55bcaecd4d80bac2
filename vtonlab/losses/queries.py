"""Which person tokens a loss supervises, one padded index list per batch.

Samples have different numbers of supervised tokens, so their indices are padded to the longest list
(at least one entry, token 0, which is a real token: everything computed there is finite) and the
padding carries weight zero.

Shapes: B samples, Q padded queries, E sparse entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from vtonlab.losses.supervised_batch import host_mask, once
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Correspondences, Grid
from vtonlab.utils.upload import upload


@dataclass(frozen=True, eq=False)
class QuerySet:
    """``index (B, Q)`` int64 person tokens, ``weight (B, Q)``: 1 for an entry, 0 for padding.

    ``host`` is the index on the CPU and ``counts`` the number of entries of each sample, where they
    were made there: what is known of them without waiting for a device.
    """

    index: Tensor
    weight: Tensor
    host: Tensor | None = None
    counts: tuple[int, ...] | None = None

    def same_index(self, other: QuerySet) -> bool:
        """Whether both name the same tokens, as far as can be told without waiting for a device."""
        if self is other:
            return True
        known = self.host is not None and other.host is not None
        return known and torch.equal(self.host, other.host)

    @cached_property
    def count(self) -> Tensor:
        """Supervised tokens of each sample, ``(B,)``."""
        return self.weight.sum(1)

    @property
    def nowhere(self) -> bool:
        """Whether it is known that no sample has any."""
        return self.counts is not None and not any(self.counts)

    def thinned(self, most: int) -> QuerySet:
        """At most ``most`` entries of each sample, evenly spread over its list; once for a set."""
        if self.index.shape[1] <= most:
            return self
        return self._thin.setdefault(most, self._thinned(most))

    @cached_property
    def _thin(self) -> dict[int, QuerySet]:
        return {}

    def _thinned(self, most: int) -> QuerySet:
        step = torch.arange(most, device=self.index.device)
        count = self.count[:, None]  # (B, 1)
        spread = (step * (count / most)).long()  # (B, most); no two alike where count >= most
        place = torch.where(count > most, spread, step)
        counts = None if self.counts is None else tuple(min(n, most) for n in self.counts)
        index, weight = (each.gather(1, place) for each in (self.index, self.weight))
        return QuerySet(index, weight, counts=counts)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of ``values (B, Q)`` within each sample, ``(B,)``; zero where it has no token."""
        weight = self.weight.to(values.dtype)
        return (values * weight).sum(1) / weight.sum(1).clamp(min=1)


def pad(parts: Sequence[Tensor], fill: float = 0) -> Tensor:
    """Stack ``(n_i, ...)`` tensors to ``(B, max(1, n), ...)``."""
    length = max(1, *(len(p) for p in parts))
    out = parts[0].new_full((len(parts), length, *parts[0].shape[1:]), fill)
    for row, part in zip(out, parts, strict=True):
        row[: len(part)] = part
    return out


def query_set(indices: Sequence[Tensor], device: torch.device) -> QuerySet:
    """A :class:`QuerySet` on ``device`` from one int64 index list per sample."""
    weight = pad([torch.ones(len(i), device=i.device) for i in indices])
    index = pad(list(indices))
    if index.is_cuda:
        return QuerySet(index.to(device), weight.to(device))
    counts = tuple(len(i) for i in indices)
    return QuerySet(upload(index, device), upload(weight, device), index, counts)


def matched_queries(
    matches: Sequence[Correspondences], grid: Grid, device: torch.device
) -> tuple[QuerySet, Tensor]:
    """Reliable person tokens and their garment points ``(B, Q, 2)`` in [0, 1]."""
    index, points = zip(*(m.to_queries(grid) for m in matches), strict=True)
    return query_set(index, device), upload(pad(points, 0.5), device)


def batch_matches(batch: Mapping, grid: Grid, device: torch.device) -> tuple[QuerySet, Tensor]:
    """:func:`matched_queries` of ``batch["correspondences"]``, once for a batch and grid."""
    matches = batch["correspondences"]
    return once(batch, ("matched", grid, device), lambda: matched_queries(matches, grid, device))


def masked_queries(mask: Tensor, grid: Grid, read_at: str = "centre") -> QuerySet:
    """Person tokens whose centre (or see `mask_on_grid`) lies inside ``mask (B, 1, H, W)``, in
    row-major order.
    """
    inside = mask_on_grid(mask, grid, read_at).flatten(1)  # (B, N)
    if not inside.is_cuda:
        return query_set([row.nonzero()[:, 0] for row in inside], mask.device)
    count = inside.sum(1)
    length = max(1, int(count.max()))
    index = inside.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :length]
    position = torch.arange(length, device=mask.device)
    weight = (position < count[:, None]).float()
    return QuerySet(index, weight)


def batch_mask(
    batch: Mapping, name: str, grid: Grid, device: torch.device, read_at: str = "centre"
) -> QuerySet:
    """:func:`masked_queries` of the mask ``batch[name]``, once for a batch and grid; made on the
    host where the mask still lies there.
    """

    def make() -> QuerySet:
        found = masked_queries(host_mask(batch, name), grid, read_at)
        if found.index.device == device:
            return found
        index, weight = upload(found.index, device), upload(found.weight, device)
        return replace(found, index=index, weight=weight)

    return once(batch, ("masked", name, grid, read_at, device), make)


def evenly_spread(record: AttentionRecord, most: int) -> QuerySet:
    """At most ``most`` of all queries of a record, the same of each sample."""
    batch, _, tokens, _ = record.query.shape
    index = torch.arange(min(tokens, most), device=record.query.device)
    index = (index * tokens).div(min(tokens, most), rounding_mode="floor").expand(batch, -1)
    return QuerySet(index, torch.ones(index.shape, device=index.device))


def unit_coordinates(grid: Grid, like: Tensor) -> Tensor:
    """Token centres ``(x, y)`` in [0, 1], row-major, ``(h * w, 2)``, in float32 or float64."""
    h, w = grid
    index = torch.arange(h * w, device=like.device)
    dtype = torch.promote_types(like.dtype, torch.float32)
    x, y = (index % w + 0.5).to(dtype), (index.div(w, rounding_mode="floor") + 0.5).to(dtype)
    return torch.stack([x / w, y / h], 1)


def mask_on_grid(mask: Tensor, grid: Grid, read_at: str = "centre") -> Tensor:
    """Value of ``mask (B, 1, H, W)`` at the centre of each cell, or at its upper left ``"corner"``,
    as bool ``(B, h, w)``.
    """
    mode = "nearest-exact" if read_at == "centre" else "nearest"
    return F.interpolate(mask.float(), size=grid, mode=mode)[:, 0] > 0.5


@dataclass(frozen=True, eq=False)
class SparseTargets:
    """Target distributions over garment tokens as sparse entries of the supervised queries.

    ``queries`` lists the person tokens; entry e lies in sample ``batch[e]``, at place
    ``position[e]`` of that sample's list, on garment token ``key[e]``, with ``weight[e]``; the
    weights of one query sum to 1. All ``(E,)``.
    """

    queries: QuerySet
    batch: Tensor
    position: Tensor
    key: Tensor
    weight: Tensor

    def seen(self, record: AttentionRecord) -> SparseTargets:
        """These targets, with weight zero where a mask of ``record`` hides the garment token."""
        if record.key_mask is None:
            return self
        seen = record.sees(self.batch, self.key)
        return replace(self, weight=self.weight * seen.to(self.weight.dtype))

    def sample_mean(self, values: Tensor) -> Tensor:
        """``sum_e weight * values`` of each sample over its number of queries: (E,) -> (B,)."""
        total = values.new_zeros(len(self.queries.index))
        total = total.index_add(0, self.batch, values * self.weight.to(values.dtype))
        return total / self.queries.count.to(values.dtype).clamp(min=1)


def sparse_targets(
    matches: Sequence[Correspondences],
    query_grid: Grid,
    key_grid: Grid,
    interpolation: str,
    device: torch.device,
) -> SparseTargets:
    """Rasterise one :class:`Correspondences` per sample to the two grids of a record."""
    indices, entries = [], []
    for sample, match in enumerate(matches):
        query, key, weight = match.to_coo(query_grid, key_grid, interpolation=interpolation)
        index, position = torch.unique(query, return_inverse=True)
        indices.append(index)
        entries.append((torch.full_like(query, sample), position, key, weight))
    columns = (upload(torch.cat(c), device) for c in zip(*entries, strict=True))
    return SparseTargets(query_set(indices, device), *columns)


def batch_targets(batch: Mapping, record: AttentionRecord, interpolation: str) -> SparseTargets:
    """:func:`sparse_targets` of ``batch["correspondences"]`` on a record's grids, once for a batch,
    grids and interpolation.
    """
    kind = record.query_grid, record.key_grid, interpolation, record.query.device
    matches = batch["correspondences"]
    return once(batch, ("sparse", *kind), lambda: sparse_targets(matches, *kind))
