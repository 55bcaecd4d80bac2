"""Which person tokens a loss supervises, one padded index list per batch.

Samples have different numbers of supervised tokens, so their indices are padded to the longest list
(at least one entry, token 0, which is a real token: everything computed there is finite) and the
padding carries weight zero.

Shapes: B samples, Q padded queries, E sparse entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Correspondences, Grid


@dataclass(frozen=True, eq=False)
class QuerySet:
    """``index (B, Q)`` int64 person tokens, ``weight (B, Q)``: 1 for an entry, 0 for padding.

    ``host`` is the index on the CPU where it was made there: to compare sets without a device.
    """

    index: Tensor
    weight: Tensor
    host: Tensor | None = None

    def same_index(self, other: QuerySet) -> bool:
        """Whether both name the same tokens, as far as can be told without waiting for a device."""
        if self is other:
            return True
        known = self.host is not None and other.host is not None
        return known and torch.equal(self.host, other.host)

    @property
    def count(self) -> Tensor:
        """Supervised tokens of each sample, ``(B,)``."""
        return self.weight.sum(1)

    @property
    def rows(self) -> tuple[Tensor, Tensor]:
        """``(batch_index, query_index)`` of the real entries, sample by sample, ``(R,)`` each."""
        batch, place = self.weight.nonzero(as_tuple=True)
        return batch, self.index[batch, place]

    def mean_of_rows(self, values: Tensor) -> Tensor:
        """:meth:`mean` of one value for each of :attr:`rows`: ``(R,)`` -> ``(B,)``."""
        total = values.new_zeros(len(self.index)).index_add(0, self.rows[0], values)
        return total / self.count.to(values.dtype).clamp(min=1)

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
    return QuerySet(index.to(device), weight.to(device), index if not index.is_cuda else None)


def matched_queries(
    matches: Sequence[Correspondences], grid: Grid, device: torch.device
) -> tuple[QuerySet, Tensor]:
    """Reliable person tokens and their garment points ``(B, Q, 2)`` in [0, 1]."""
    index, points = zip(*(m.to_queries(grid) for m in matches), strict=True)
    return query_set(index, device), pad(points, 0.5).to(device)


def masked_queries(mask: Tensor, grid: Grid, read_at: str = "centre") -> QuerySet:
    """Person tokens whose centre (or see `mask_on_grid`) lies inside ``mask (B, 1, H, W)``, in
    row-major order.
    """
    inside = mask_on_grid(mask, grid, read_at).flatten(1)  # (B, N)
    count = inside.sum(1)
    length = max(1, int(count.max()))
    index = inside.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :length]
    position = torch.arange(length, device=mask.device)
    weight = (position < count[:, None]).float()
    return QuerySet(index, weight)


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
    columns = (torch.cat(c).to(device) for c in zip(*entries, strict=True))
    return SparseTargets(query_set(indices, device), *columns)
