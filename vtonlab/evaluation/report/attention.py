"""Attention maps of a page: bytes, compressed, rows that matter alone."""

import base64
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vtonlab.utils.bounded import FileError, read_npz, reason_of

FAINT = 0.02  # of a row's maximum: the page draws nothing below


@dataclass(frozen=True)
class SavedAttention:
    """One pair's attention as ``tools/test.py`` saves it.

    Args:
        layers: names.
        maps: (L, Nq, Nk), head mean given the garment, rows summing to 1.
        mass: (L, Nq) share of all attention that falls on the garment.
        query_grid, key_grid: (rows, columns).
        truth: (Nq, 2) garment points in [0, 1], None where not known.
        visible: (Nq,) bool, where ``truth`` holds.
        sigma: noise level at which attention was read.
    """

    layers: list[str]
    maps: np.ndarray
    mass: np.ndarray
    query_grid: tuple[int, int]
    key_grid: tuple[int, int]
    truth: np.ndarray | None = None
    visible: np.ndarray | None = None
    sigma: float | None = None


def read_attention(path: str | Path) -> SavedAttention:
    """Read ``attention/<pair>.npz``.

    Raises:
        ValueError: the file is not what ``tools/test.py`` writes.
    """
    try:
        data = read_npz(Path(path))
        queries, keys = (int(np.prod(data[f"{side}_grid"])) for side in ("query", "key"))
        layers = [str(name) for name in data["layers"]]
        if data["maps"].shape != (len(layers), queries, keys):
            raise ValueError(f"maps {data['maps'].shape} do not fit its layers and grids")
        return SavedAttention(
            layers=layers,
            maps=data["maps"].astype(np.float32),
            mass=data["mass"].astype(np.float32),
            query_grid=tuple(map(int, data["query_grid"])),
            key_grid=tuple(map(int, data["key_grid"])),
            truth=data.get("truth"),
            visible=data.get("visible"),
            sigma=float(data["sigma"]) if "sigma" in data else None,
        )
    except (OSError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise FileError(f"{path} is not a file of saved attention ({reason_of(error)})") from error


def packed(saved: SavedAttention, rows: np.ndarray) -> dict:
    """What the page's script reads: maps of the query tokens ``rows``, one byte a key.

    Each row is scaled by its own maximum; a byte is 255 times the root of that, in steps of 8, and
    0 below :data:`FAINT`: what no eye tells apart is not stored. Where there are several layers
    their mean comes last.
    """
    names, maps, mass = list(saved.layers), saved.maps[:, rows], saved.mass[:, rows]
    if len(names) > 1:
        names.append("mean of these layers")
        maps = np.concatenate([maps, maps.mean(0, keepdims=True)])
        mass = np.concatenate([mass, mass.mean(0, keepdims=True)])
    levels = maps / np.maximum(maps.max(axis=-1, keepdims=True), 1e-12)
    steps = np.where(levels < FAINT, 0, np.floor(np.sqrt(levels) * 32) * 8)  # 256 at the maximum
    data = zlib.compress(np.minimum(steps, 255).astype(np.uint8).tobytes(), 9)
    return dict(
        layers=names,
        grid=saved.query_grid,
        keys=saved.key_grid,
        rows=rows.tolist(),
        mass=np.rint(mass * 100).astype(int).tolist(),
        maps=base64.b64encode(data).decode(),
    )


def rows_that_matter(saved: SavedAttention, mask: np.ndarray | None) -> np.ndarray:
    """Query tokens that can be asked about: where the truth is known, else inside the mask."""
    queries = saved.query_grid[0] * saved.query_grid[1]
    if saved.visible is not None:
        return np.flatnonzero(saved.visible)
    if mask is not None:
        size = (saved.query_grid[1], saved.query_grid[0])
        share = np.asarray(Image.fromarray((mask > 0).astype(np.uint8) * 255).resize(size))
        inside = np.flatnonzero(share.reshape(-1) >= 128)
        if len(inside):
            return inside
    return np.arange(queries)
