"""A protocol: everything a number depends on besides the pictures, in one config.

A file under ``configs/_base_/protocols`` holds one dictionary ``protocol``. What it fixes is
printed beside every number.
"""

import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from vtonlab.evaluation.base import NotComputableError
from vtonlab.ops.repaint import BLUR
from vtonlab.ops.resize import Size, resize_picture
from vtonlab.registry import METRICS
from vtonlab.structures.pair_store import plain_settings

SETTINGS = ("paired", "unpaired")
RESIZES = {
    "pil_bicubic": "Pillow bicubic",
    "pil_bilinear": "Pillow bilinear (torchvision's)",
    "pil_lanczos": "Pillow Lanczos",
    "cv2_bilinear": "OpenCV bilinear, aliased",
}
REAL_SETS = {
    "list": "the true pictures of the list",
    "folder": "the whole folder of people",
    "train": "the training split's people",
}
REPAINTS = {True: "pasted back", False: "none", None: "as given"}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Settings of one protocol.

    Args:
        name: as on the command line.
        source: where it comes from.
        size: ``(height, width)`` at which pictures are compared; ``"truth"``: the true picture's
            own; ``"prediction"``: the prediction's.
        exact: predictions must have that size already; else they are resized to it (they must have
            the aspect ratio of the photographs).
        resize: how predictions and true pictures are brought to ``size``.
        truth_jpeg: quality at which the resized true picture is encoded again before anything is
            compared, as some published scripts do; None leaves it alone.
        real_set: which pictures FID and KID compare with: ``"list"``, ``"folder"`` or ``"train"``.
        real_size: ``"file"`` (untouched) or ``"compared"`` (as resized and encoded above).
        repaint: whether the photograph is pasted back outside the mask before scoring; None takes
            the pictures as they are.
        repaint_blur: how soft that paste is: its Gaussian is ``height // repaint_blur``; 0 is hard.
        same_dataset: False: the model must have been trained on another data set (cross-data-set).
        paired, unpaired: metric configs of the two settings.
        notes: printed with the numbers.

    Raises:
        ValueError: a value that is none of the choices.
    """

    name: str
    source: str = ""
    size: Any = "truth"
    exact: bool = False
    resize: str = "pil_bicubic"
    truth_jpeg: int | None = None
    real_set: str = "list"
    real_size: str = "file"
    repaint: bool | None = None
    repaint_blur: int = BLUR
    same_dataset: bool = True
    paired: Sequence[Mapping] = ()
    unpaired: Sequence[Mapping] = ()
    notes: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.size, str):
            object.__setattr__(self, "size", tuple(self.size))
        for key, choices in (
            ("resize", RESIZES),
            ("real_set", REAL_SETS),
            ("real_size", ("file", "compared")),
            ("repaint", REPAINTS),
        ):
            if getattr(self, key) not in choices:
                listed = ", ".join(map(str, choices))
                raise ValueError(
                    f"protocol {self.name}: {key} {getattr(self, key)!r} is none of {listed}"
                )
        if isinstance(self.size, str) and self.size not in ("truth", "prediction"):
            raise ValueError(
                f"protocol {self.name}: size must be (height, width), 'truth' or 'prediction', "
                f"not {self.size!r}"
            )

    def metrics(self, setting: str) -> tuple[list, dict[str, str]]:
        """The metrics of a setting, built; and of those that cannot be: name -> sentence."""
        built, refused = [], {}
        for config in getattr(self, setting):
            try:
                built.append(METRICS.build(dict(config)))
            except NotComputableError as error:
                refused[config["type"]] = str(error)
        return built, refused

    def compared_size(self, truth: Size, prediction: Size) -> Size:
        """(height, width) at which a pair is compared."""
        return {"truth": truth, "prediction": prediction}.get(self.size, self.size)

    def true_picture(self, picture: np.ndarray, size: Size, lossy: bool) -> np.ndarray:
        """The true picture as this protocol compares it; ``lossy``: its file is a JPEG."""
        resized = resize_as(picture, size, self.resize)
        if self.truth_jpeg is None or not lossy:
            return resized
        return encoded(resized, self.truth_jpeg)

    def describe(self, setting: str, metrics: Sequence) -> str:
        """One line with everything that a number depends on."""
        size = "x".join(map(str, self.size)) if isinstance(self.size, tuple) else f"{self.size}'s"
        parts = [f"{self.name} {setting}", f"compared at {size} size ({RESIZES[self.resize]})"]
        if self.truth_jpeg is not None:
            parts.append(f"TRUTH RE-ENCODED as JPEG {self.truth_jpeg}")
        parts.append(f"real set: {REAL_SETS[self.real_set]}, {self.real_size} size")
        return " | ".join([*parts, *(metric.describe() for metric in metrics)])

    def settings(self) -> dict[str, Any]:
        """All of it, for results.json."""
        return {field.name: plain_settings(getattr(self, field.name)) for field in fields(self)}


def resize_as(picture: np.ndarray, size: Size, how: str) -> np.ndarray:
    """(H, W, 3) uint8 to ``size`` as ``how`` of `RESIZES` says; unchanged if it has it."""
    if picture.shape[:2] == tuple(size):
        return picture
    if how.startswith("pil_") and how != "pil_lanczos":
        return resize_picture(picture, size, how.removeprefix("pil_"))
    if how == "pil_lanczos":
        resample = Image.Resampling.LANCZOS
        return np.array(Image.fromarray(picture).resize((size[1], size[0]), resample))
    import cv2

    return cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def encoded(picture: np.ndarray, quality: int) -> np.ndarray:
    """``picture`` after a trip through a JPEG file of that quality (Pillow)."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer).convert("RGB"))


def load_protocol(name: str, folder: str | Path) -> Protocol:
    """A protocol by its name in ``folder``, or by the path of a config.

    Raises:
        FileNotFoundError: there is none; the sentence lists those that are there.
        ValueError: no ``protocol`` in the file, or unknown keys.
    """
    path = Path(name) if name.endswith(".py") else Path(folder) / f"{name}.py"
    if not path.is_file():
        known = sorted(p.stem for p in Path(folder).glob("*.py") if not p.stem.startswith("_"))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise FileNotFoundError(f"no protocol {name!r}: {hint}there are {', '.join(known)}")
    config = Config.fromfile(str(path)).get("protocol")
    if not isinstance(config, Mapping):
        raise ValueError(f"{path} holds no dictionary `protocol`")
    names = [field.name for field in fields(Protocol)]
    for key in config:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f": did you mean {near[0]!r}?" if near else f": valid are {', '.join(names)}"
            raise ValueError(f"unknown key {key!r} in the protocol of {path}{hint}")
    return Protocol(**plain_settings(config))
