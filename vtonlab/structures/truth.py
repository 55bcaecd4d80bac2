"""Where person tokens truly look in the garment, whatever a batch knows of it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vtonlab.structures.correspondences import Grid

SOURCES = ("auto", "flow", "correspondences")


def true_points(
    batch: Mapping, place: int, grid: Grid, source: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Garment points of one sample's person tokens: (N, 2) float32 in [0, 1], known (N,) bool; CPU.

    Args:
        batch: with ``flow`` or ``correspondences``, a list of one per sample.
        place: of the sample in the batch.
        grid: of the person tokens, row-major.
        source: ``"flow"`` takes the flow at each token's centre, ``"correspondences"`` the mean of
            the matches in each token's cell; ``"auto"`` the flow where the batch has it.

    Raises:
        ValueError: the batch has no such truth.
    """
    if source == "auto":
        source = "flow" if "flow" in batch else "correspondences"
    if source not in batch:
        raise ValueError(
            f"the batch has no {source!r}, which the truth is read from; it has "
            f"{', '.join(sorted(map(str, batch)))}: take a data set that knows its flow, add "
            "matches=dict(matcher=...) to it, or the transform BodyFlow for bodies"
        )
    if source == "flow":
        points, known = batch["flow"][place].to_grid(grid)
        return points.cpu(), known.cpu()
    index, means = batch["correspondences"][place].to_queries(grid)
    points, known = torch.zeros(grid[0] * grid[1], 2), torch.zeros(grid[0] * grid[1]).bool()
    points[index], known[index] = means, True
    return points, known
