"""A sample on one page: every map it holds, and its correspondences."""

from collections.abc import Iterator

import numpy as np

from vtonlab.ops.agnostic import leak_share, worn_garment
from vtonlab.ops.skeleton import draw_skeleton
from vtonlab.visualization.colors import label_colors
from vtonlab.visualization.correspondences import (
    draw_correspondences,
    draw_flow,
    draw_flow_offsets,
    draw_places,
    warp_garment,
)
from vtonlab.visualization.pages import CAPTION, fit, grid, heading, stack, tile, tint


def sample_tiles(sample: dict) -> Iterator[tuple[np.ndarray, str]]:
    """Every map of a sample as a picture with its caption, in the order of the contract."""
    person, garment = sample["person"], sample["garment"]
    yield person, "person"
    yield garment, "garment"
    if "garment_mask" in sample:
        yield tint(garment, sample["garment_mask"], (46, 134, 222)), "garment_mask"
    if "agnostic" in sample:
        yield sample["agnostic"], "agnostic"
    if "mask" in sample:
        yield mask_tile(sample)
    if "worn_mask" in sample:
        yield tint(person, sample["worn_mask"], (40, 180, 120)), "worn_mask"
    for key in ("pose", "garment_pose", "iuv", "garment_iuv"):
        if key in sample:
            yield sample[key], key
    for key in ("parse", "garment_parse"):
        if key in sample:
            yield label_colors(sample[key]), key
    if "keypoints" in sample:
        dim = (person * 0.45).astype(np.uint8)
        yield draw_skeleton(sample["keypoints"], *person.shape[:2], image=dim), "keypoints"
    if "target" in sample:
        yield sample["target"], "target"
    if "flow" in sample:
        flow = sample["flow"]
        size = person.shape[:2]
        flow = flow if flow.size == size else flow.resize(size)
        yield draw_flow(flow, person), "flow"
        yield draw_flow_offsets(flow), "offset"
        yield draw_places(garment, sample.get("garment_mask")), "key to the flow"
        yield warp_garment(garment, flow, person), "garment through flow"


def mask_tile(sample: dict) -> tuple[np.ndarray, str]:
    """The try-on area over the person; what it leaves of the worn garment in red, with its share.

    The worn garment is ``worn_mask``, else that of ``parse``; without both no leak is shown.
    """
    mask, worn = sample["mask"], sample.get("worn_mask")
    if worn is None and "parse" in sample:
        worn = worn_garment(sample["parse"], sample["category"])
    picture, caption = tint(sample["person"], mask), f"mask ({np.mean(mask > 0):.0%}"
    if worn is not None:
        picture = tint(picture, ((worn > 0) & (mask == 0)).astype(np.uint8), (255, 0, 0))
        caption += f", leak {leak_share(mask, worn):.1%}"
    return picture, f"{caption})"


def draw_sample(sample: dict, *, height: int = 256, columns: int = 5) -> np.ndarray:
    """One page for one sample.

    Args:
        sample: The dictionary of ``vtonlab.structures.sample``; absent maps are left out.
        height: Height of one map in pixels.
        columns: Maps in a row.

    Returns:
        uint8 RGB page.
    """
    person = sample["person"]
    width = max(1, round(height * person.shape[1] / person.shape[0]))
    tiles = [tile(image, text, height, width) for image, text in sample_tiles(sample)]
    page = grid(tiles, columns)
    matches = sample.get("correspondences")
    if matches is not None:
        tall = page.shape[0] - CAPTION - 12
        lines = draw_correspondences(person, sample["garment"], matches, height=tall)
        lines = tile(lines, f"{len(matches)} correspondences", *lines.shape[:2])
        page = np.concatenate([page, grid([lines], 1)], 1)
    return stack([heading(_title(sample), page.shape[1]), page])


def contact_sheet(
    samples: list[dict], keys: tuple[str, ...], *, height: int = 160, per_row: int = 2
) -> np.ndarray:
    """Many samples on one page, one strip of the chosen maps each.

    Args:
        samples: Sample dictionaries.
        keys: Captions of :func:`sample_tiles` to show, for example ("person", "garment", "flow").
        height: Height of one map in pixels.
        per_row: Samples in a row.

    Raises:
        ValueError: No sample has one of the keys.
    """
    strips = []
    for sample in samples:
        shown = {text.split(" (")[0]: image for image, text in sample_tiles(sample)}
        missing = [key for key in keys if key not in shown]
        if missing:
            raise ValueError(
                f"sample {sample.get('id')!r} has no {missing[0]!r}; it has {', '.join(shown)}"
            )
        person = sample["person"]
        width = max(1, round(height * person.shape[1] / person.shape[0]))
        strips.append(np.concatenate([fit(shown[key], height, width) for key in keys], 1))
    wide = max(strip.shape[1] for strip in strips)
    tiles = [tile(strip, _title(s), height, wide) for strip, s in zip(strips, samples, strict=True)]
    return grid(tiles, per_row, gap=10)


def _title(sample: dict) -> str:
    names = [str(sample.get("id", "?"))]
    if sample.get("garment_id") not in (None, sample.get("id")):
        names.append(f"with garment {sample['garment_id']}")
    names.append(str(sample.get("category", "")))
    return "   ".join(names)
