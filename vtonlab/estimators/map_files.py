"""Maps that another program has written, as estimators: found by the photograph's name."""

from pathlib import Path

import numpy as np

from vtonlab.estimators.base import MapFiles
from vtonlab.ops.labels import DENSEPOSE_PARTS, atr_to_lip, densepose_labels, densepose_palette
from vtonlab.ops.resize import resize_picture
from vtonlab.registry import ESTIMATORS
from vtonlab.utils.bounded import FileError, read_npy, read_npz
from vtonlab.utils.images import read_image

_STRAYING = 12  # grey levels by which a rendering's colours may differ from DensePose's own
_STRETCHED = 0.01  # difference of aspects, above which a map is of another picture
_LIP_LABELS = 20


@ESTIMATORS.register_module()
class DensePoseFiles(MapFiles):
    """DensePose's own parts: ``_IUV.png``, arrays of parts, or the usual coloured rendering.

    Detectron2's ``dump`` (.pkl) is a pickle, which can run any code when it is opened, so it is
    never read: docs/how_to/estimator.md shows how to save its parts as ``.npz``.

    Args:
        folder: of the files.
        endings: what follows the photograph's name, tried in this order.
    """

    def __init__(
        self,
        *,
        folder: str,
        endings: tuple[str, ...] = (
            *("_IUV.png", "_densepose.png", ".png", ".npz", ".npy", ".jpg", "_5.png"),
            *(".pkl", ".pickle"),  # to say what to do with them
        ),
    ) -> None:
        super().__init__(folder, endings)

    def read(self, path: Path) -> np.ndarray:
        return read_parts(path)


@ESTIMATORS.register_module()
class ParseFiles(MapFiles):
    """Label pictures of a human parser such as SCHP, as LIP labels.

    Args:
        folder: of the files.
        labels: ``lip`` or ``atr``.
        endings: what follows the photograph's name, tried in this order.
    """

    def __init__(
        self,
        *,
        folder: str,
        labels: str = "lip",
        endings: tuple[str, ...] = (".png", "_parse.png", "_4.png"),
    ) -> None:
        super().__init__(folder, endings)
        if labels not in ("lip", "atr"):
            raise ValueError(f"labels {labels!r} is neither 'lip' nor 'atr'")
        self.labels = labels

    def read(self, path: Path) -> np.ndarray:
        labels = read_image(path, "labels")
        known = _LIP_LABELS if self.labels == "lip" else _LIP_LABELS - 2
        if labels.max(initial=0) >= known:
            raise FileError(
                f"{path} holds label {labels.max()}, but {self.labels.upper()} ends at {known - 1}"
            )
        return labels if self.labels == "lip" else atr_to_lip(labels)


def read_parts(path: Path) -> np.ndarray:
    """DensePose parts (H, W) uint8, 0 to 24, of a file:

    =====================  =======================================================================
    ``.png``               labels as grey or palette numbers; I, U, V or V, U, I (OpenCV's order)
                           in three channels; or a rendering
    ``.jpg``               a rendering in DensePose's colours, as VITON-HD ships it
    ``.npy``               parts (H, W), or I, U, V as (3, H, W) or (H, W, 3)
    ``.npz``               ``labels`` (H, W)
    =====================  =======================================================================

    Raises:
        FileNotFoundError: no such file.
        FileError: none of these; a pickle; nobody in it.
    """
    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        raise FileError(
            f"{path} is a pickle, which can run any code when it is opened: save its parts as .npz "
            "where it was made (docs/how_to/estimator.md shows how)"
        )
    if suffix == ".npz":
        arrays = read_npz(path)
        if "labels" not in arrays:
            raise FileError(f"{path} has no array 'labels', but {', '.join(arrays) or 'none'}")
        parts = arrays["labels"]
    elif suffix == ".npy":
        parts = _of_array(read_npy(path))
    else:
        parts = _of_picture(path)
    if parts.ndim != 2 or parts.dtype.kind not in "iuf":
        raise FileError(f"{path} holds {parts.dtype} {parts.shape}; parts are whole numbers (H, W)")
    if not 0 <= parts.min(initial=0) <= parts.max(initial=0) <= DENSEPOSE_PARTS:
        raise FileError(f"{path} holds parts up to {parts.max()}; DensePose's are 0 to 24")
    if not parts.any():
        raise FileError(f"{path} shows nobody: every pixel is background")
    return parts.astype(np.uint8)


def _of_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 3 and array.shape[0] == 3:
        return array[0]
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 3 else array


def _of_picture(path: Path) -> np.ndarray:
    picture = read_image(path)
    for channel in (0, 2):
        parts = picture[..., channel]
        if parts.max() <= DENSEPOSE_PARTS and path.suffix.lower() == ".png":
            return parts
    try:
        labels = read_image(path, "labels")  # a palette of colours over the numbers
        if labels.max() <= DENSEPOSE_PARTS:
            return labels
    except FileError:
        pass
    labels = densepose_labels(picture)
    someone = labels > 0
    strayed = np.abs(picture.astype(np.int16) - densepose_palette()[labels])[someone].max(-1)
    if someone.any() and np.median(strayed) > _STRAYING:
        raise FileError(
            f"{path} is neither parts 0 to 24 nor a rendering in DensePose's own colours (Parula): "
            "give the _IUV.png"
        )
    return labels


def fitted_labels(labels: np.ndarray, size: tuple[int, int], path: Path) -> np.ndarray:
    """Labels (H, W) at a photograph's ``size``.

    Raises:
        FileError: another aspect.
    """
    height, width = labels.shape
    if abs(height * size[1] / (width * size[0]) - 1) > _STRETCHED + 1 / min(size):
        raise FileError(
            f"{path} is {height}x{width}, its photograph {size[0]}x{size[1]}: it is of another "
            "picture, or of a part of it"
        )
    return resize_picture(labels, size, "nearest")
