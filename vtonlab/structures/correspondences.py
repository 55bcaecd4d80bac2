"""Sparse person-to-garment correspondence: what matchers fill and supervised losses read.

Points are ``(x, y)`` in [0, 1] over the whole image, so they do not depend on its size; the centre
of pixel (or token) ``i`` of ``n`` lies at ``(i + 0.5) / n``. Pixel indices, as OpenCV's keypoints
and ``warpAffine`` use them, put that centre at ``i``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Grid = tuple[int, int]  # (rows, columns)
Box = tuple[float, float, float, float]  # (x0, y0, x1, y1) in [0, 1]


def cell_index(points: Tensor, grid: Grid) -> Tensor:
    """Row-major index of the grid cell that holds each point: ``(M, 2)`` -> ``(M,)`` int64."""
    h, w = grid
    column = (points[:, 0] * w).floor().long().clamp(0, w - 1)
    row = (points[:, 1] * h).floor().long().clamp(0, h - 1)
    return row * w + column


def cell_centres(grid: Grid) -> Tensor:
    """Centres of all cells in row-major order: ``(h * w, 2)`` float32, ``(x, y)``."""
    h, w = grid
    y, x = torch.meshgrid(
        (torch.arange(h, dtype=torch.float32) + 0.5) / h,
        (torch.arange(w, dtype=torch.float32) + 0.5) / w,
        indexing="ij",
    )
    return torch.stack([x, y], -1).reshape(-1, 2)


def bilinear_cells(points: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The four cells around each point and their bilinear weights, both ``(M, 4)``.

    Outside the outermost centres the border cell takes the whole weight.
    """
    h, w = grid
    size = torch.tensor([w, h], dtype=points.dtype)
    position = torch.minimum((points * size - 0.5).clamp(min=0.0), size - 1)  # (M, 2)
    low = position.floor()
    part = position - low
    high = torch.minimum(low + 1, size - 1)
    x0, y0, x1, y1 = low[:, 0], low[:, 1], high[:, 0], high[:, 1]
    u, v = part[:, 0], part[:, 1]
    cells = torch.stack([y0 * w + x0, y0 * w + x1, y1 * w + x0, y1 * w + x1], 1).long()
    weights = torch.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], 1)
    return cells, weights


def unit_affine(matrix, source_size: Grid, target_size: Grid) -> Tensor:
    """Turn a pixel-index affine (``cv2.warpAffine``'s, source to target) into one on [0, 1].

    Args:
        matrix: ``(2, 3)`` or ``(3, 3)``, source pixel index -> target pixel index.
        source_size, target_size: ``(height, width)`` of the two pictures.

    Returns:
        ``(2, 3)`` float64 tensor for :meth:`Correspondences.affine`.
    """
    pixel = torch.eye(3, dtype=torch.float64)
    pixel[:2] = torch.as_tensor(np.asarray(matrix), dtype=torch.float64)[:2]
    (hs, ws), (ht, wt) = source_size, target_size
    to_index = torch.tensor([[ws, 0, -0.5], [0, hs, -0.5], [0, 0, 1]], dtype=torch.float64)
    to_unit = torch.tensor(
        [[1 / wt, 0, 0.5 / wt], [0, 1 / ht, 0.5 / ht], [0, 0, 1]], dtype=torch.float64
    )
    return (to_unit @ pixel @ to_index)[:2]


def crop_affine(box: Box) -> Tensor:
    """Affine on [0, 1] that maps ``box`` onto the new picture; ``ValueError`` for an empty box."""
    x0, y0, x1, y1 = box
    if not (x1 > x0 and y1 > y0):
        raise ValueError(f"crop box {tuple(box)} is empty: it needs x0 < x1 and y0 < y1 in [0, 1]")
    w, h = x1 - x0, y1 - y0
    return torch.tensor([[1 / w, 0, -x0 / w], [0, 1 / h, -y0 / h]], dtype=torch.float64)


def apply_affine(points: Tensor, matrix: Tensor) -> Tensor:
    """``(..., 2)`` points under a ``(2, 3)`` affine, computed in float64, returned in float32."""
    matrix = torch.as_tensor(np.asarray(matrix), dtype=torch.float64)
    return (points.double() @ matrix[:2, :2].T + matrix[:2, 2]).float()


def inside_unit(points: Tensor) -> Tensor:
    """``(..., 2)`` -> bool ``(...)``: the point lies on the picture."""
    return ((points >= 0) & (points <= 1)).all(-1)


@dataclass(frozen=True, eq=False)
class Correspondences:
    """M matched points of one person picture and one garment picture (CPU, float32).

    ================  ========  ==================================================
    ``person_points``   (M, 2)  ``(x, y)`` in [0, 1] over the person picture
    ``garment_points``  (M, 2)  ``(x, y)`` in [0, 1] over the garment picture
    ``scores``            (M,)  positive weights; ones where a matcher has none
    ================  ========  ==================================================

    Every transform returns a new object; matches that leave either picture are dropped.
    """

    person_points: Tensor
    garment_points: Tensor
    scores: Tensor | None = None

    def __post_init__(self) -> None:
        person = torch.as_tensor(self.person_points, dtype=torch.float32).reshape(-1, 2)
        garment = torch.as_tensor(self.garment_points, dtype=torch.float32).reshape(-1, 2)
        if self.scores is None:
            scores = torch.ones(len(person))
        else:
            scores = torch.as_tensor(self.scores, dtype=torch.float32).reshape(-1)
        if not len(person) == len(garment) == len(scores):
            raise ValueError(
                f"Correspondences need as many person points ({len(person)}) as garment points "
                f"({len(garment)}) and scores ({len(scores)})"
            )
        if not (inside_unit(person) & inside_unit(garment)).all():
            raise ValueError(
                "Correspondences hold points in [0, 1] over the image; use "
                "Correspondences.from_pixels for pixel coordinates"
            )
        if not ((scores > 0) & torch.isfinite(scores)).all():
            raise ValueError("Correspondences need finite scores above 0")
        for name, value in (
            ("person_points", person),
            ("garment_points", garment),
            ("scores", scores),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> Correspondences:
        """No matches: what a plain garment gives."""
        return cls(torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0))

    @classmethod
    def from_pixels(
        cls, person, garment, person_size: Grid, garment_size: Grid, scores=None
    ) -> Correspondences:
        """From pixel indices ``(x, y)`` (centres at integers) and ``(height, width)`` sizes.

        Matches outside either picture are dropped.
        """
        sides = []
        for points, (h, w) in ((person, person_size), (garment, garment_size)):
            index = torch.as_tensor(np.asarray(points, dtype=np.float64)).reshape(-1, 2)
            sides.append(((index + 0.5) / torch.tensor([w, h], dtype=torch.float64)).float())
        return cls._kept(*sides, torch.ones(len(sides[0])) if scores is None else scores)

    def to_pixels(self, person_size: Grid, garment_size: Grid) -> tuple[Tensor, Tensor]:
        """Pixel indices ``(x, y)`` in pictures of ``(height, width)``, each ``(M, 2)``."""
        (hp, wp), (hg, wg) = person_size, garment_size
        return (
            self.person_points * torch.tensor([wp, hp]) - 0.5,
            self.garment_points * torch.tensor([wg, hg]) - 0.5,
        )

    @classmethod
    def _kept(cls, person: Tensor, garment: Tensor, scores) -> Correspondences:
        keep = inside_unit(person) & inside_unit(garment)
        scores = torch.as_tensor(scores, dtype=torch.float32).reshape(-1)
        return cls(person[keep], garment[keep], scores[keep])

    def subset(self, mask) -> Correspondences:
        """The matches that a boolean mask, slice or index tensor selects."""
        if not isinstance(mask, slice):
            mask = torch.as_tensor(mask)
        return Correspondences(
            self.person_points[mask], self.garment_points[mask], self.scores[mask]
        )

    @classmethod
    def cat(cls, parts: Sequence[Correspondences]) -> Correspondences:
        """All matches of ``parts``, in order."""
        if not parts:
            return cls.empty()
        return cls(
            torch.cat([p.person_points for p in parts]),
            torch.cat([p.garment_points for p in parts]),
            torch.cat([p.scores for p in parts]),
        )

    def shuffled(self, rng: np.random.Generator) -> Correspondences:
        """The same points wrongly paired: the control that supervision is tested against."""
        order = torch.as_tensor(rng.permutation(len(self)))
        return Correspondences(self.person_points, self.garment_points[order], self.scores)

    # transforms -----------------------------------------------------------------------------

    def hflip(self, person: bool = True, garment: bool = True) -> Correspondences:
        """Mirror either or both pictures: ``x -> 1 - x``."""
        mirror = torch.tensor([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        return self.affine(mirror if person else None, mirror if garment else None)

    def crop(self, person: Box | None = None, garment: Box | None = None) -> Correspondences:
        """Keep the part of each picture inside ``(x0, y0, x1, y1)``, given in [0, 1]."""
        return self.affine(
            None if person is None else crop_affine(person),
            None if garment is None else crop_affine(garment),
        )

    def affine(self, person=None, garment=None) -> Correspondences:
        """Move points by ``(2, 3)`` maps on [0, 1] (old to new; see :func:`unit_affine`)."""
        return self._kept(
            self.person_points if person is None else apply_affine(self.person_points, person),
            self.garment_points if garment is None else apply_affine(self.garment_points, garment),
            self.scores,
        )

    def resize(self, size: Grid | None = None) -> Correspondences:
        """The same matches: stretching a picture does not move a point given in [0, 1]."""
        return self

    # rasterising ----------------------------------------------------------------------------

    def to_queries(self, query_grid: Grid) -> tuple[Tensor, Tensor]:
        """One continuous target per occupied person cell.

        Returns:
            query index ``(Q,)`` int64, ascending, and the score-weighted mean garment point
            ``(Q, 2)`` float32 of the matches in that cell.
        """
        index, member = torch.unique(
            cell_index(self.person_points, query_grid), return_inverse=True
        )
        total = torch.zeros(len(index), dtype=torch.float64)
        total.index_add_(0, member, self.scores.double())
        summed = torch.zeros(len(index), 2, dtype=torch.float64)
        summed.index_add_(0, member, (self.garment_points * self.scores[:, None]).double())
        return index, (summed / total[:, None]).float()

    def to_coo(
        self, query_grid: Grid, key_grid: Grid, interpolation: str = "nearest"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Target distribution over garment cells for each occupied person cell, as sparse triples.

        ``"nearest"`` is SIFT-VTON's histogram p[i, :] (METHODS.md 2.3), weighted by the scores;
        ``"bilinear"`` spreads each match over the four garment cells around it.

        Returns:
            query index, key index (both ``(E,)`` int64, sorted by query then key, no pair twice)
            and weight ``(E,)`` float32; the weights of one query sum to 1.
        """
        if interpolation == "nearest":
            key = cell_index(self.garment_points, key_grid)[:, None]
            weight = torch.ones(len(self), 1)
        elif interpolation == "bilinear":
            key, weight = bilinear_cells(self.garment_points, key_grid)
        else:
            raise ValueError(
                f'interpolation must be "nearest" or "bilinear", not {interpolation!r}'
            )
        keys = key_grid[0] * key_grid[1]
        query = cell_index(self.person_points, query_grid)
        weight = weight.double() * self.scores.double()[:, None]
        kept = weight.reshape(-1) > 0
        pair, member = torch.unique(
            (query[:, None] * keys + key).reshape(-1)[kept], return_inverse=True
        )
        summed = torch.zeros(len(pair), dtype=torch.float64)
        summed.index_add_(0, member, weight.reshape(-1)[kept])
        query, key = pair // keys, pair % keys
        total = torch.zeros(query_grid[0] * query_grid[1], dtype=torch.float64)
        total.index_add_(0, query, summed)
        return query, key, (summed / total[query]).float()

    # serialising ----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, np.ndarray]:
        """Plain float32 arrays, safe to store without pickle."""
        return {
            name: getattr(self, name).numpy().copy()
            for name in ("person_points", "garment_points", "scores")
        }

    @classmethod
    def from_dict(cls, data: Mapping) -> Correspondences:
        """Back from :meth:`to_dict`, or from the same keys holding nested lists or tensors."""
        missing = {"person_points", "garment_points", "scores"} - set(data)
        if missing:
            raise ValueError(f"correspondences lack {sorted(missing)}; found {sorted(data)}")
        return cls(data["person_points"], data["garment_points"], data["scores"])
