"""Opening all pictures of a data set before training spends time on them."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from vtonlab.datasets.readers.lists import some
from vtonlab.datasets.readers.reading import (
    WHITE_IS_ONE,
    MaskFiles,
    check_aspect,
    looks_inverted,
    read_arrays,
    read_body,
    read_keypoints,
    suspicion,
)
from vtonlab.structures.sample import MASKS, owner
from vtonlab.utils.images import check_image, read_image

_MASK_SHARE = (0.02, 0.80)  # of the try-on area; more or less is an inverted or empty mask
_QUIET_SECONDS = 2.0


def verify_pictures(
    title: str,
    pairs: Mapping[str, Mapping[str, Path]],
    *,
    decode_at_most: int,
    max_pixels: int,
    mask_files: MaskFiles = WHITE_IS_ONE,
    damaged: str = "error",
) -> str:
    """Check the pictures of all pairs in parallel; see `FileTryOnDataset.verify`.

    Args:
        title: what is checked, for messages.
        pairs: for each pair's name its files by map.
        mask_files: how mask files are meant.
        damaged: ``"skip"``: the sentence tells the damaged ones too.

    Returns:
        one sentence of what was found good.

    Raises:
        ValueError: one sentence that names up to five damaged pictures with their pairs.
    """
    start = time.monotonic()
    owners = {}  # file -> (map, pair): each file once, however many pairs use it
    for pair, files in pairs.items():
        for name, path in files.items():
            owners.setdefault(path, (name, pair))
    deep = spread(len(owners), decode_at_most)

    def check(item: tuple[int, Path]) -> tuple[tuple[int, int] | None, str]:
        number, path = item
        try:
            return _check(path, owners[path][0], number in deep, max_pixels, mask_files), ""
        except (ValueError, OSError) as error:
            return None, f"{error} (pair {owners[path][1]})"

    sizes, faults = {}, []
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        results = pool.map(check, enumerate(owners))
        for path, (size, fault) in zip(owners, _progress(results, len(owners), title), strict=True):
            sizes[path] = size
            faults += [fault] * bool(fault)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for thousands of pictures
    faults += _wrong_sizes(pairs, sizes)
    if faults:
        told = f"{title}: {len(faults)} of {len(owners)} files cannot be used: {some(faults, '; ')}"
        if damaged == "error":
            raise ValueError(told)
        return f"{told}; damaged='skip' passes over them"
    how = "decoded"
    if len(deep) < len(owners):
        how = f"intact by header and end, {len(deep)} of them decoded"
    return (
        f"{title}: {len(pairs)} pairs, all {len(owners)} files {how} "
        f"({time.monotonic() - start:.1f} s)"
    )


def spread(count: int, limit: int) -> set[int]:
    """Numbers to look at closely: all up to ``limit``, else a tenth of it, spread evenly."""
    if count <= limit:
        return set(range(count))
    return {int(i * 0.618034 * count) % count for i in range(-(-limit // 10))}


def _check(
    path: Path, name: str, deep: bool, max_pixels: int, mask_files: MaskFiles
) -> tuple[int, int] | None:
    kind = name.removeprefix("garment_")
    if kind == "keypoints":
        read_keypoints(path, (1, 1))
        return None
    if path.suffix == ".npz":
        if deep:
            read_body(path) if kind == "body" else read_arrays(path, ("uv",))
        return None
    if not deep:
        return check_image(path, deep=False, max_pixels=max_pixels)
    if kind == "iuv":
        return read_image(path, "rgb", max_pixels).shape[:2]
    mode = "mask" if name in MASKS else "labels" if kind == "parse" else "rgb"
    picture = read_image(path, mode, max_pixels)
    if name in MASKS:
        _check_mask(mask_files.read(picture, name, path), name, path)
    return picture.shape[:2]


def _check_mask(mask: np.ndarray, name: str, path: Path) -> None:
    share, (low, high) = mask.mean(), _MASK_SHARE
    if name == "mask" and not low <= share <= high:
        raise ValueError(
            f"{path} marks {share:.0%} of the picture as to be generated, {low:.0%} to "
            f"{high:.0%} are plausible: white must be the area to generate"
        )
    if looks_inverted(mask):
        raise ValueError(f"{path} {suspicion(mask, name)}")


def _wrong_sizes(pairs: Mapping[str, Mapping[str, Path]], sizes: Mapping) -> Iterator[str]:
    told = set()
    for pair, files in pairs.items():
        for name, path in files.items():
            photo = sizes.get(files[owner(name)])
            if path in told or photo is None or sizes.get(path) is None:
                continue
            told.add(path)
            try:
                check_aspect(sizes[path], photo, path)
            except ValueError as error:
                yield f"{error} (pair {pair})"


def _progress(results: Iterator, total: int, title: str) -> Iterator:
    """Pass results on; after two seconds, a line with the time left, on terminals and in logs."""
    start = shown = time.monotonic()
    interval: Callable[[], float] = lambda: 0.2 if sys.stderr.isatty() else 10.0  # noqa: E731
    for done, result in enumerate(results, 1):
        yield result
        now = time.monotonic()
        if now - start > _QUIET_SECONDS and (now - shown > interval() or done == total):
            shown = now
            left = (now - start) / done * (total - done)
            end = "\r" if sys.stderr.isatty() and done < total else "\n"
            line = f"checking {title}: {done}/{total} files, {left:.0f} s left  "
            print(line, end=end, file=sys.stderr, flush=True)
