"""Nearest neighbours both ways between two sets of features, without their full similarity."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_both_ways(
    first: Tensor, second: Tensor, chunk: int = 1024
) -> tuple[Tensor, Tensor, Tensor]:
    """Arg max of the dot product from each side, one block of rows at a time.

    Args:
        first, second: ``(N, D)`` and ``(M, D)``; normalise them for cosine similarity.
        chunk: rows held at once; memory is ``chunk * M`` similarities.

    Returns:
        forward ``(N,)`` into ``second``, backward ``(M,)`` into ``first`` (int64; of equals the
        first wins), and the similarity ``(N,)`` float32 of each forward match.
    """
    forward = torch.empty(len(first), dtype=torch.int64, device=first.device)
    similarity = torch.empty(len(first), dtype=torch.float32, device=first.device)
    best = torch.full((len(second),), -torch.inf, dtype=first.dtype, device=first.device)
    backward = torch.zeros(len(second), dtype=torch.int64, device=first.device)
    for start in range(0, len(first), chunk):
        block = first[start : start + chunk] @ second.T  # (chunk, M)
        values, forward[start : start + chunk] = block.max(1)
        similarity[start : start + chunk] = values.float()
        values, rows = block.max(0)
        better = values > best
        best = torch.where(better, values, best)
        backward = torch.where(better, rows + start, backward)
    return forward, backward, similarity


def cycle_distance(forward: Tensor, backward: Tensor, grid: tuple[int, int]) -> Tensor:
    """Distance ``(N,)`` in tokens between each first token and where its match leads back to.

    Args:
        grid: ``(h, w)`` of the first side, N = h * w.
    """
    here = torch.arange(len(forward), device=forward.device)
    back = backward[forward]
    dy = here // grid[1] - back // grid[1]
    dx = here % grid[1] - back % grid[1]
    return (dx.float() ** 2 + dy.float() ** 2).sqrt()
