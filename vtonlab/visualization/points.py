"""Points of the person that attention is asked about, and the maps under them."""

from collections.abc import Sequence

import numpy as np
import torch

from vtonlab.ops.attention_chunked import attention_map
from vtonlab.structures import AttentionRecord
from vtonlab.visualization.attention import draw_points_attention
from vtonlab.visualization.correspondences import spread


def choose_points(
    sample: dict, points: Sequence[tuple[float, float]] | None = None, count: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the person and where they truly belong.

    Args:
        sample: dictionary of ``vtonlab.structures.sample``.
        points: (x, y) in [0, 1]; by default ``count`` far apart where the garment is known to show
            (inside the mask where no flow is known).

    Returns:
        points (P, 2), and their garment places (P, 2), NaN where not known; float64.
    """
    flow = sample.get("flow")
    if points is None:
        area = flow.visible.numpy() if flow is not None else np.asarray(sample["mask"]) > 0
        if not area.any():
            area = np.ones(sample["person"].shape[:2], bool)
        y, x = np.nonzero(area)
        places = np.stack([(x + 0.5) / area.shape[1], (y + 0.5) / area.shape[0]], 1)
        points = places[spread(places, count)]
    points = np.asarray(points, np.float64)
    truth = np.full(points.shape, np.nan)
    if flow is not None:
        target, seen = flow.sample(torch.from_numpy(points))
        truth[seen.numpy()] = target.numpy()[seen.numpy()]
    return points, truth


def cells_under(points: np.ndarray, query_grid: tuple[int, int]) -> torch.Tensor:
    """Query token under each point (P, 2), int64 (P,)."""
    size = np.array(query_grid[::-1])
    column, row = np.minimum((points * size).astype(np.int64), size - 1).T
    return torch.from_numpy(row * query_grid[1] + column)


def maps_of(
    record: AttentionRecord, cells: torch.Tensor, heads: Sequence[str] = ("mean",), place: int = 0
) -> dict[str, np.ndarray]:
    """Attention of some queries given the garment.

    Args:
        cells: query tokens, int64 (P,).
        heads: "mean", "each", or numbers of heads.
        place: of the sample in the batch.

    Returns:
        "mean" or a head's number -> (P, h, w) on the garment's grid.

    Raises:
        ValueError: the layer has no such head.
    """
    wanted, count = [], record.query.shape[1]
    for head in heads:
        wanted += [str(number) for number in range(count)] if head == "each" else [str(head)]
    far = [head for head in wanted if head != "mean" and int(head) >= count]
    if far:
        raise ValueError(f"{record.name} has {count} heads, 0 to {count - 1}, no head {far[0]}")
    cells = cells.to(record.query.device)
    query, key = record.query[place : place + 1, :, cells], record.key[place : place + 1]
    bias = record.key_bias()
    bias = None if bias is None else bias[place : place + 1]
    every = attention_map(query, key, record.scale, bias)[0].float()  # (H, P, Nk)
    found = {head: every.mean(0) if head == "mean" else every[int(head)] for head in wanted}
    shape = (len(cells), *record.key_grid)
    return {head: maps.reshape(shape).cpu().numpy() for head, maps in found.items()}


def draw_sample_attention(
    sample: dict,
    records: Sequence[AttentionRecord],
    *,
    place: int = 0,
    count: int = 3,
    height: int = 128,
) -> np.ndarray:
    """A page for one sample: where a few of its points look in each layer.

    Args:
        sample: dictionary of ``vtonlab.structures.sample``.
        records: of a batch that holds the sample at ``place``.
        count: points, chosen far apart.
        height: of one picture.

    Returns:
        uint8 RGB page.
    """
    points, truth = choose_points(sample, count=count)
    views, notes = {}, {}
    for record in records:
        cells = cells_under(points, record.query_grid)
        views[record.name] = maps_of(record, cells, place=place)["mean"]
        mass = record.garment_mass()[place].float().mean(0).cpu()[cells]
        notes[record.name] = [f"mass {share:.0%}" for share in mass.tolist()]
    person, garment = sample["person"], sample["garment"]
    return draw_points_attention(
        person, garment, points, views, truth=truth, notes=notes, height=height
    )
