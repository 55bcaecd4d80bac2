"""`Look`: where in the garment a place of a dressed person looked, in one layer at one noise level.

Attention is read while the drawn picture is denoised once more, as `tools/test.py` reads it for the
report's page. Queries and keys of one layer are kept, never a map: a place that is asked about is
one row, computed then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from vtonlab.models import TryOnDiffusion
from vtonlab.ops.resize import Size, fit_inside
from vtonlab.structures import AttentionRecord
from vtonlab.structures.sample import collate

SIGMA = 0.5  # noise level at which attention is read where the config names none


class Match(NamedTuple):
    """The garment place that a place of the person looked at.

    Args:
        x, y: centre of the most attended cell, in pixels of the garment picture; 0 is the centre
            of the first pixel.
        confidence: share, of the attention given the garment, within one cell of that place: what
            `attention_pck` would call right.
        share: of all attention, that on the garment.
    """

    x: float
    y: float
    confidence: float
    share: float


@dataclass(frozen=True)
class Look:
    """Attention from a dressed person to the garment.

    Args:
        layers: names that `look` takes for this model.
        layer: the one that was read.
        heads: how many it has.
        head: the one that answers; None: the mean of all, as metrics and reports take it.
        sigma: noise level.
        record: queries and keys of one pair.
        picture_size: (height, width) of the picture whose places are asked about.
        canvas_size: of the model, on which the picture may be padded.
        garment_size: of the garment picture.
    """

    layers: tuple[str, ...]
    layer: str
    head: int | None
    sigma: float
    record: AttentionRecord = field(repr=False)
    picture_size: Size
    canvas_size: Size
    garment_size: Size

    def __post_init__(self) -> None:
        if self.head is not None and not 0 <= self.head < self.heads:
            raise ValueError(
                f"{self.layer} has {self.heads} heads, 0 to {self.heads - 1}, no head {self.head}"
            )

    @property
    def heads(self) -> int:
        """Of the layer."""
        return self.record.query.shape[1]

    def of_head(self, head: int | None) -> Look:
        """The same reading, answered by another head (None: by the mean of all).

        Raises:
            ValueError: the layer has no such head.
        """
        return replace(self, head=head)

    def map_at(self, x: float, y: float) -> np.ndarray:
        """(rows, columns) float32: attention of the picture's place on each garment cell; sums to
        the share of all attention that went to the garment.

        Args:
            x, y: pixels of the picture; 0 is the centre of the first pixel.

        Raises:
            ValueError: the place is not in the picture.
        """
        given, share = self._row(x, y)
        return (given * share).astype(np.float32)

    def at(self, x: float, y: float) -> Match:
        """The garment place that the picture's place looked at most; arguments as `map_at`."""
        given, share = self._row(x, y)
        row, column = np.unravel_index(given.argmax(), given.shape)
        near = given[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        across = self.garment_size[1] / given.shape[1], self.garment_size[0] / given.shape[0]
        place = (
            float((n + 0.5) * wide - 0.5) for n, wide in zip((column, row), across, strict=True)
        )
        return Match(*place, confidence=float(near.sum()), share=share)

    def _row(self, x: float, y: float) -> tuple[np.ndarray, float]:
        """Attention given the garment (rows, columns), and the garment's share."""
        record, cell = self.record, self._cell(x, y)
        row = AttentionRecord(
            name=record.name,
            query=record.query[:, :, cell : cell + 1],  # (1, H, 1, D)
            key=record.key,
            query_grid=(1, 1),
            key_grid=record.key_grid,
            scale=record.scale,
            context_key=record.context_key,
            key_mask=record.key_mask,
            context_mask=record.context_mask,
        )
        heads = slice(None) if self.head is None else slice(self.head, self.head + 1)
        given = row.probs()[0, heads, 0].mean(0)  # (Nk,)
        share = row.garment_mass()[0, heads, 0].mean()
        return given.reshape(record.key_grid).cpu().numpy(), float(share)

    def _cell(self, x: float, y: float) -> int:
        """Query token at a place of the picture."""
        height, width = self.picture_size
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise ValueError(f"({x:g}, {y:g}) is outside the picture of {width}x{height} pixels")
        top, left, *_ = fit_inside(self.picture_size, self.canvas_size)
        places = (y + 0.5 + top, x + 0.5 + left)
        row, column = (
            min(int(place / side * cells), cells - 1)
            for place, side, cells in zip(
                places, self.canvas_size, self.record.query_grid, strict=True
            )
        )
        return row * self.record.query_grid[1] + column


def look(
    model: TryOnDiffusion,
    shown: Mapping[str, Any],
    picture_size: Size,
    *,
    layer: str | None = None,
    head: int | None = None,
    sigma: float | None = None,
    seed: int = 0,
) -> Look:
    """Read one layer; see `TryOnInferencer.look`.

    Args:
        shown: what the model was shown (`vtonlab.structures.sample`), with the picture that it
            drew as ``target``.
        picture_size: (height, width) of that picture without padding.
    """
    size, canvas_size = tuple(model.size), shown["person"].shape[:2]
    if canvas_size != size:
        raise ValueError(
            f"this result is of a model of {canvas_size[0]}x{canvas_size[1]} pixels, not of this "
            f"one of {size[0]}x{size[1]}: ask the inferencer that drew it"
        )
    layers = model.conditioner.readable(model.backbone)
    if not layers:
        raise ValueError(f"no layer of {type(model.backbone).__name__} can be looked at")
    layer = usual_layer(model, layers) if layer is None else layer
    if layer not in layers:
        near = get_close_matches(layer, layers, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no layer {layer!r} to look at: there are {', '.join(layers)}{hint}")
    sigma = usual_sigma(model) if sigma is None else sigma
    if not 0.0 <= sigma <= 1.0:
        raise ValueError(f"sigma={sigma}: a noise level within [0, 1] is needed")
    with seeded(model, seed):
        (record,) = read_records(model, shown, sigma, [layer])
    return Look(
        layers=tuple(layers),
        layer=layer,
        head=head,
        sigma=float(sigma),
        record=record,
        picture_size=picture_size,
        canvas_size=canvas_size,
        garment_size=shown["garment"].shape[:2],
    )


def usual_layer(model: TryOnDiffusion, layers: Sequence[str]) -> str:
    """The layer to look at where none is named: the first that an attention loss supervised, else
    the first of the config's probe, else the one in the middle.
    """
    probed = (model.probe or {}).get("layers", [])
    for patterns in (model.supervised_layers, probed):
        patterns = [pattern for pattern in patterns if pattern != "*"]
        for name in layers:
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                return name
    return layers[len(layers) // 2]


def usual_sigma(model: TryOnDiffusion) -> float:
    """The noise level to look at where none is named."""
    return (model.probe or {}).get("sigma", SIGMA)


def read_records(
    model: TryOnDiffusion, shown: Mapping[str, Any], sigma: float, layers: Sequence[str]
) -> list[AttentionRecord]:
    """Attention records of ``layers`` while the ``target`` of one sample is denoised."""
    batch = model.data_preprocessor(collate([dict(shown)]), False)
    return model.attention_records(batch, sigma, layers)


@contextmanager
def seeded(model: TryOnDiffusion, seed: int) -> Iterator[None]:
    """While open, the model draws noise of another ``seed``."""
    own, model.seed = model.seed, seed
    try:
        yield
    finally:
        model.seed = own
