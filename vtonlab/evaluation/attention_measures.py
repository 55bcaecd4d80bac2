"""How sharp is right attention, and what would it draw? Read from records, where truth is known."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vtonlab.structures import AttentionRecord, FlowField
from vtonlab.structures.correspondences import bilinear_cells


def true_shares(record: AttentionRecord, flows: Sequence[FlowField]) -> Tensor:
    """Share of each head's attention, given the garment, on the up to four cells around each
    query's true point: (B, H, Nq) on the CPU, 0 where the truth is unknown.
    """
    _, heads, count, _ = record.query.shape
    shares = torch.zeros(len(flows), count, heads)
    places, queries, keys = [], [], []
    for place, flow in enumerate(flows):
        points, known = flow.to_grid(record.query_grid)
        index = known.nonzero()[:, 0]
        cells, weights = bilinear_cells(points[index], record.key_grid)
        row, corner = (weights > 0).nonzero(as_tuple=True)
        places.append(torch.full_like(row, place))
        queries.append(index[row])
        keys.append(cells[row, corner])
    place, query, key = (torch.cat(part) for part in (places, queries, keys))
    if len(place):
        device = record.query.device
        found = record.log_prob(place.to(device), query.to(device), key.to(device))
        shares.index_put_((place, query), found.exp().cpu().float(), accumulate=True)
    return shares.mT


def drawn_errors(
    record: AttentionRecord, garment: Tensor, target: Tensor, flows: Sequence[FlowField]
) -> Tensor | None:
    """Error of the picture that attention alone would draw, each key giving its garment patch.

    Args:
        record: with grids that divide the pictures; else None.
        garment, target: (B, 3, H, W) in [-1, 1].
        flows: of the pictures; their visible pixels count.

    Returns:
        (B, 2) on the CPU: sum of the absolute error over visible pixels ([0, 1] scale, mean over
        channels), and their number.
    """
    (rows, columns), (height, width) = record.key_grid, garment.shape[-2:]
    if height % rows or width % columns:
        return None
    patch = height // rows, width // columns
    values = F.unfold(garment.float(), patch, stride=patch).transpose(1, 2)  # (B, Nk, 3 * h * w)
    mean = record.mean_map_moments(values).mean.float()  # (B, Nq, 3 * h * w)
    size = record.query_grid[0] * patch[0], record.query_grid[1] * patch[1]
    drawn = F.fold(mean.transpose(1, 2), size, patch, stride=patch)
    if size != tuple(target.shape[-2:]):
        drawn = F.interpolate(drawn, target.shape[-2:], mode="bilinear")
    error = (drawn - target.float()).abs().mean(1).cpu() / 2  # (B, H, W)
    visible = torch.stack([flow.visible for flow in flows]).to(error)
    return torch.stack([(error * visible).sum((1, 2)), visible.sum((1, 2))], 1)
