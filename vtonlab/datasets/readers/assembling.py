"""From the files of one pair to a sample: read or make each map, place it on the wanted size."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtonlab.datasets.readers.lists import Item
from vtonlab.datasets.readers.pair_maps import SHOWN, PairMaps
from vtonlab.datasets.readers.reading import WHITE_IS_ONE, Canvas, MaskFiles, place_body
from vtonlab.ops.agnostic import agnostic_picture
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.sample import LABEL_MAPS, MASKS
from vtonlab.utils.images import MemoryFile


@dataclass(frozen=True)
class Recipe:
    """How samples are made; whatever the files come from (folders, shards), the same is made.

    Args:
        size: ``(height, width)`` of every map, or None for the files' own.
        maps: beside person and garment.
        task, labels, build_mask, paint_hair, max_pixels, mask_files: see `PairMaps`.
    """

    size: tuple[int, int] | None
    maps: tuple[str, ...]
    task: str
    labels: str
    build_mask: Mapping
    paint_hair: bool
    max_pixels: int
    mask_files: MaskFiles = WHITE_IS_ONE

    def assemble(
        self,
        item: Item,
        files: Mapping[str, Path | MemoryFile],
        matches: Correspondences | None = None,
    ) -> dict:
        """The sample of a pair, before transforms.

        Args:
            matches: between the photographs as they are on file.

        Raises:
            FileNotFoundError, ValueError: a file is missing or cannot be used; names it.
        """
        maps = PairMaps(
            files=files,
            category=item.category,
            task=self.task,
            labels=self.labels,
            build_mask=self.build_mask,
            paint_hair=self.paint_hair,
            mask_files=self.mask_files,
            max_pixels=self.max_pixels,
        )
        owners = dict.fromkeys(("person", "garment", *map(maps.owner, self.maps)))
        canvases = {name: Canvas(maps[name].shape[:2], self.size) for name in owners}
        sample = dict(
            id=item.pair.id.replace("/", "__"),  # ids name files of results
            garment_id=item.pair.garment_id.replace("/", "__"),
            category=item.category,
            source_size=canvases["person"].source,
            garment_source_size=canvases["garment"].source,
            person=canvases["person"].photo(maps["person"]),
            garment=canvases["garment"].photo(maps["garment"]),
        )
        for name in self.maps:
            if name == "body":
                garment = {f"garment_{k}": v for k, v in maps["garment_body"].items()}
                sample[name] = place_body({**maps["body"], **garment}, canvases)
            elif name != "agnostic":
                sample[name] = _place(maps, name, canvases[maps.owner(name)])
        if "agnostic" in self.maps:
            sample["agnostic"] = _agnostic(sample, maps, canvases["person"])
        if matches is not None:
            affines = (canvases["person"].affine, canvases["garment"].affine)
            sample["correspondences"] = matches.affine(*affines)
        return sample


def _agnostic(sample: dict, maps: PairMaps, canvas: Canvas) -> np.ndarray:
    if "agnostic" in maps.files:
        return canvas.photo(maps["agnostic"], maps.files["agnostic"])
    mask = sample["mask"] if "mask" in sample else _place(maps, "mask", canvas)
    return agnostic_picture(sample["person"], mask)


def _place(maps: PairMaps, name: str, canvas: Canvas) -> np.ndarray:
    if name.endswith("keypoints"):
        return canvas.keypoints(maps[name])
    kind = "photo" if name in SHOWN else "picture"
    if name in MASKS:
        kind = "mask"
    elif name in LABEL_MAPS or name.endswith("iuv"):
        kind = "labels"
    return getattr(canvas, kind)(maps[name], maps.source(name))
