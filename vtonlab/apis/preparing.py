"""Photographs in any form as the files that every reader here takes, and their maps."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vtonlab.estimators import Preparation, Prepared
from vtonlab.utils.images import MemoryFile, Source, read_image

Picture = str | Path | Image.Image | np.ndarray


def prepare(
    person: Picture,
    garment: Picture | None = None,
    category: str = "upper_body",
    *,
    maps: Sequence[str] | None = None,
    given: Mapping[str, np.ndarray] | None = None,
    preparation: Preparation | None = None,
) -> Prepared:
    """The maps of a person's photograph, and of a garment's.

    Args:
        person, garment: paths, PIL pictures or uint8 arrays (H, W, 3).
        category: of the garment: ``upper_body``, ``lower_body`` or ``dresses``.
        maps: which are wanted (``mask``, ``pose``, ...); None: all.
        given: maps that are there already, at the photograph's size.
        preparation: which estimators; None: the default ones.

    Returns:
        Photographs, maps, where each came from, and ``warnings``.

    Raises:
        PreparationError: nobody is seen, or nothing would be drawn.
        FileNotFoundError: no such file, or no weights; names the command that fetches them.
    """
    file = as_file(person, "person")
    garment = None if garment is None else read_image(as_file(garment, "garment"))
    preparation = preparation or Preparation()
    return preparation(read_image(file), garment, category, given=given, maps=maps, name=stem(file))


def read_preparation(file: str | Path | None = None, convention: str | None = None) -> Preparation:
    """The estimators that a config names: ``preparation = dict(type="Preparation", ...)``.

    Args:
        file: of the config; None: the default estimators.
        convention: of masks, in the place of the config's.

    Raises:
        FileNotFoundError, ValueError: no such file, no such name in it, or unknown settings.
    """
    from vtonlab.engine.config.inherit import read
    from vtonlab.registry import ESTIMATORS

    config = dict(type="Preparation")
    if file is not None:
        if not Path(file).is_file():
            raise FileNotFoundError(f"--preparation {file} does not exist")
        config = read(Path(file), import_custom_modules=True).get("preparation")
        if not isinstance(config, dict):
            raise ValueError(f"{file} has no `preparation = dict(type='Preparation', ...)`")
    return ESTIMATORS.build(config | ({} if convention is None else {"convention": convention}))


def as_file(picture: Picture, name: str) -> Source:
    """A path as it is, a picture in memory as a PNG in memory, named after its contents or, of a
    PIL picture, after the file it was opened from.

    Args:
        picture: path, PIL picture, or array: uint8 (H, W), (H, W, 3), (H, W, 4), or bool (H, W).
        name: for messages.

    Raises:
        ValueError: anything else.
    """
    if isinstance(picture, str | Path | MemoryFile):
        return picture
    stem = None
    if isinstance(picture, Image.Image):
        opened = getattr(picture, "filename", "")  # of pictures that Pillow opened
        stem = Path(opened).stem if opened else None
        picture = ImageOps.exif_transpose(picture)
    elif isinstance(picture, np.ndarray) and picture.dtype in (np.uint8, bool):
        picture = picture.astype(np.uint8) * 255 if picture.dtype == bool else picture
        if picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,), (4,)):
            raise ValueError(f"{name}: an array must be (H, W), (H, W, 3) or (H, W, 4)")
        picture = Image.fromarray(np.ascontiguousarray(picture))
    else:
        found = getattr(picture, "dtype", type(picture).__name__)
        raise ValueError(
            f"{name} must be a path, a PIL picture or a uint8 array (H, W, 3), not {found}"
        )
    data = io.BytesIO()
    picture.save(data, "PNG", compress_level=1)
    if stem is None:
        stem = hashlib.sha256(picture.tobytes()).hexdigest()[:16]
    return MemoryFile(f"{stem}.png", data.getvalue())


def png(array: np.ndarray) -> MemoryFile:
    """A map as a file: uint8 (H, W) or (H, W, 3)."""
    return as_file(array, "map")


def stem(file: Source) -> str:
    """What results call a picture: its file's name without ending."""
    return Path(str(file)).stem


def as_list(value: Any) -> list:
    """A list as it is, anything else as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]
