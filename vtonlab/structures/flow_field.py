"""Dense person-to-garment correspondence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vtonlab.structures.correspondences import (
    Box,
    Correspondences,
    Grid,
    apply_affine,
    bilinear_cells,
    cell_centres,
    cell_index,
    crop_affine,
    inside_unit,
)


@dataclass(frozen=True, eq=False)
class FlowField:
    """For each person pixel, where its garment point lies in the garment picture (CPU).

    ===========  =========  =======================================================================
    ``flow``     (h, w, 2)  float32, absolute ``(x, y)`` in [0, 1] over the garment picture; 0 where
                            not visible
    ``visible``     (h, w)  bool, the pixel shows garment whose place in the garment is known
    ===========  =========  =======================================================================
    """

    flow: Tensor
    visible: Tensor

    def __post_init__(self) -> None:
        flow = torch.as_tensor(self.flow, dtype=torch.float32)
        visible = torch.as_tensor(self.visible).bool()
        if flow.ndim != 3 or flow.shape[2] != 2 or flow.shape[:2] != visible.shape:
            raise ValueError(
                f"FlowField needs flow (h, w, 2) and visible (h, w), "
                f"not {tuple(flow.shape)} and {tuple(visible.shape)}"
            )
        if not inside_unit(flow)[visible].all():
            raise ValueError(
                "FlowField holds absolute garment positions in [0, 1] wherever it is visible"
            )
        object.__setattr__(self, "flow", torch.where(visible[..., None], flow, 0.0))
        object.__setattr__(self, "visible", visible)

    @classmethod
    def from_correspondences(cls, matches: Correspondences, size: Grid) -> FlowField:
        """Sparse field of ``(height, width)``: pixels with matches take their weighted mean."""
        index, target = matches.to_queries(size)
        flow, visible = torch.zeros(size[0] * size[1], 2), torch.zeros(size[0] * size[1]).bool()
        flow[index], visible[index] = target, True
        return cls(flow.reshape(*size, 2), visible.reshape(size))

    @property
    def size(self) -> Grid:
        """``(height, width)`` of the person picture."""
        return tuple(self.visible.shape)

    @classmethod
    def _kept(cls, flow: Tensor, visible: Tensor) -> FlowField:
        return cls(flow, visible & inside_unit(flow))

    def sample(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Garment points at continuous person points.

        Bilinear where all four neighbours are visible and lie on one surface (less than four pixels
        apart in the garment), the nearest pixel elsewhere, so that no point falls between an arm
        and the torso behind it.

        Args:
            points: ``(M, 2)`` in [0, 1] over the person picture.

        Returns:
            garment points ``(M, 2)`` float32 and visibility ``(M,)`` bool.
        """
        points = torch.as_tensor(points, dtype=torch.float32).reshape(-1, 2)
        flow, visible = self.flow.reshape(-1, 2), self.visible.reshape(-1)
        cells, weights = bilinear_cells(points, self.size)
        around = flow[cells]  # (M, 4, 2)
        spread = (around.amax(1) - around.amin(1)).amax(-1)
        smooth = visible[cells].all(1) & (spread < 4.0 / max(self.size))
        nearest = cell_index(points, self.size)
        target = torch.where(
            smooth[:, None], (around * weights[..., None]).sum(1), flow[nearest]
        ).clamp(0, 1)
        seen = (smooth | visible[nearest]) & inside_unit(points)
        return torch.where(seen[:, None], target, 0.0), seen

    def to_grid(self, query_grid: Grid) -> tuple[Tensor, Tensor]:
        """Truth at each token centre: target ``(N, 2)`` and valid ``(N,)``, N = h * w."""
        return self.sample(cell_centres(query_grid))

    def to_correspondences(self, stride: int = 1) -> Correspondences:
        """Every visible pixel on a lattice of the given stride, with score 1."""
        start = (stride - 1) // 2
        pick = torch.zeros_like(self.visible)
        pick[start::stride, start::stride] = True
        pick &= self.visible
        person = cell_centres(self.size)[pick.reshape(-1)]
        return Correspondences(person, self.flow[pick])

    # transforms -----------------------------------------------------------------------------

    def hflip(self, person: bool = True, garment: bool = True) -> FlowField:
        """Mirror either or both pictures."""
        flow, visible = self.flow, self.visible
        if person:
            flow, visible = flow.flip(1), visible.flip(1)
        if garment:
            flow = torch.stack([1 - flow[..., 0], flow[..., 1]], -1)
        return FlowField(flow, visible)

    def affine(self, person=None, garment=None, size: Grid | None = None) -> FlowField:
        """Move either picture by a ``(2, 3)`` map on [0, 1], old to new.

        Args:
            size: ``(height, width)`` of the new person picture; unchanged by default.
        """
        flow, visible = self.flow, self.visible
        if person is not None or size is not None:
            h, w = size or self.size
            matrix = torch.eye(3, dtype=torch.float64)
            if person is not None:
                matrix[:2] = torch.as_tensor(np.asarray(person), dtype=torch.float64)[:2]
            back = apply_affine(cell_centres((h, w)), torch.linalg.inv(matrix)[:2])
            flow, visible = self.sample(back)
            flow, visible = flow.reshape(h, w, 2), visible.reshape(h, w)
        if garment is not None:
            flow = apply_affine(flow, garment)
        return self._kept(flow, visible)

    def crop(self, person: Box | None = None, garment: Box | None = None) -> FlowField:
        """Keep the part of each picture inside ``(x0, y0, x1, y1)``; pixels keep their size."""
        size = None
        if person is not None:
            h, w = self.size
            x0, y0, x1, y1 = person
            size = (max(1, round(h * (y1 - y0))), max(1, round(w * (x1 - x0))))
        return self.affine(
            None if person is None else crop_affine(person),
            None if garment is None else crop_affine(garment),
            size,
        )

    def resize(self, size: Grid) -> FlowField:
        """The field sampled at the pixel centres of a person picture of ``(height, width)``."""
        return self.affine(size=size)

    # serialising ----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, np.ndarray]:
        """Plain arrays, safe to store without pickle."""
        return {"flow": self.flow.numpy().copy(), "visible": self.visible.numpy().copy()}

    @classmethod
    def from_dict(cls, data: Mapping) -> FlowField:
        """Back from :meth:`to_dict`."""
        missing = {"flow", "visible"} - set(data)
        if missing:
            raise ValueError(f"a flow field lacks {sorted(missing)}; found {sorted(data)}")
        return cls(data["flow"], data["visible"])
