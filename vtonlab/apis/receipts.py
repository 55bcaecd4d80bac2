"""A receipt: one JSON file with everything a picture was drawn from, and what draws it again.

It holds the pictures as the network saw them, at the model's size, so it needs nothing beside the
model's weights. Whoever gets it can see the person: treat it like the photograph.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vtonlab.apis.inferencer import TryOnInferencer, TryOnResult
from vtonlab.apis.models import files_of
from vtonlab.apis.preparing import png
from vtonlab.engine.checkpoints.exported import digest
from vtonlab.structures.sample import CATEGORIES, MASKS
from vtonlab.utils.bounded import (
    NUMBER,
    FileError,
    MemoryFile,
    Source,
    check_form,
    naming,
    read_json,
)
from vtonlab.utils.images import read_image
from vtonlab.version import __version__

KIND = "vtonlab receipt 1"
MAX_BYTES = 64 * 2**20  # of a file; 1024x768 takes 5
MAX_PIXELS = 16_000_000  # of one of its pictures, which are of a model's size
MAX_STEPS = 1000  # noise levels there are
SETTINGS = ("seed", "num_steps", "guidance_scale", "repaint")
MAPS = ("person", "garment", "mask", "agnostic", "pose")  # of a sample that photographs give
_FORM = {
    "kind!": str,
    "model!": {"name!": str, "sha256!": str},
    "settings!": {
        "seed!": int,
        "num_steps!": int,
        "guidance_scale!": NUMBER,
        "repaint!": bool,
    },
    "pair!": {
        "id!": str,
        "garment_id!": str,
        "category!": str,
        "source_size!": (int, int),
    },
    "shown!": {...: str},
    "picture_sha256!": str,
    "versions": {...: str},
}


@dataclass(frozen=True)
class Receipt:
    """What a picture was drawn from.

    Args:
        model: ``name`` and ``sha256`` of the weights.
        settings: ``seed``, ``num_steps``, ``guidance_scale``, ``repaint``.
        shown: the sample that the network was shown: its names and its uint8 arrays.
        picture_sha256: of the drawn pixels; another processor may round another way.
        versions: of vtonlab and torch.
    """

    model: dict[str, str]
    settings: dict[str, Any]
    shown: dict[str, Any]
    picture_sha256: str
    versions: dict[str, str] = field(default_factory=dict)

    def with_settings(self, **settings: Any) -> "Receipt":
        """The same pair, drawn in another way."""
        return replace(self, settings=self.settings | settings)


def identity(model: str | Path, checkpoint: str | Path | None = None) -> dict[str, str]:
    """``name`` and ``sha256`` of weights as `init_model` finds them."""
    return dict(name=Path(model).name, sha256=digest(checkpoint or files_of(model)[1]))


def receipt_of(
    result: TryOnResult,
    *,
    model: dict[str, str],
    seed: int,
    num_steps: int,
    guidance_scale: float,
    repaint: bool = True,
) -> Receipt:
    """The receipt of a result of `TryOnInferencer`, drawn with these settings.

    Args:
        model: what `identity` says.
    """
    import torch

    settings = dict(
        seed=seed, num_steps=num_steps, guidance_scale=float(guidance_scale), repaint=repaint
    )
    shown = {key: value for key, value in result.shown.items() if key != "target"}
    versions = dict(vtonlab=__version__, torch=torch.__version__)
    return Receipt(model, settings, shown, pixels_sha256(result.picture), versions)


def pixels_sha256(picture: np.ndarray) -> str:
    """Of a picture's shape and pixels."""
    shape = "x".join(map(str, picture.shape)).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(picture).tobytes()).hexdigest()


def write_receipt(receipt: Receipt) -> str:
    """As JSON."""
    shown = receipt.shown
    data = asdict(receipt) | dict(kind=KIND)
    data["pair"] = {key: shown[key] for key in ("id", "garment_id", "category")}
    data["pair"]["source_size"] = list(shown["source_size"])
    data["shown"] = {name: _encoded(shown[name]) for name in MAPS if name in shown}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def read_receipt(source: Source) -> Receipt:
    """What `write_receipt` wrote.

    Raises:
        FileNotFoundError: no such file.
        FileError: no receipt, or one that contradicts itself.
    """
    data = read_json(source, MAX_BYTES)
    with naming(source):
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise ValueError(
                "it is no receipt: choose the JSON file that the studio saved with a picture"
            )
        check_form(data, _FORM)
        pair, shown = data["pair"], data["shown"]
        if pair["category"] not in CATEGORIES:
            raise ValueError(f"category {pair['category']!r} is none of {', '.join(CATEGORIES)}")
        if not 1 <= data["settings"]["num_steps"] <= MAX_STEPS:
            raise ValueError(f"num_steps is {data['settings']['num_steps']}: 1 to {MAX_STEPS}")
        if min(pair["source_size"]) < 1:
            raise ValueError(f"source_size is {pair['source_size']}")
        unknown = [name for name in shown if name not in MAPS]
        missing = [name for name in ("person", "garment", "mask") if name not in shown]
        if unknown or missing:
            raise ValueError(f"it has no {missing[0]}" if missing else f"unknown {unknown[0]!r}")
        arrays = {name: _decoded(name, shown[name]) for name in shown}
    size = arrays["person"].shape[:2]
    for name, array in arrays.items():
        if array.shape[:2] != size:
            raise FileError(f"{source}: its {name} is of another size than its person")
    settings = {key: data["settings"][key] for key in SETTINGS}
    model = {key: data["model"][key] for key in ("name", "sha256")}
    names = {key: pair[key] for key in ("id", "garment_id", "category")}
    sample = dict(**names, source_size=tuple(pair["source_size"]), index=0, position=0, **arrays)
    versions = data.get("versions", {})
    return Receipt(model, settings, sample, data["picture_sha256"], versions)


def repeat(inferencer: TryOnInferencer, receipt: Receipt, **options: Any) -> TryOnResult:
    """The picture of a receipt once more.

    Args:
        inferencer: of the model that the receipt names.
        options: further ones of `TryOnInferencer.draw`.

    Raises:
        ValueError: the receipt is of a model of another size, or lacks what this one is shown.
    """
    size, canvas = tuple(inferencer.model.size), receipt.shown["person"].shape[:2]
    if size != canvas:
        raise ValueError(
            f"this receipt is of {receipt.model['name']} at {canvas[0]}x{canvas[1]} pixels; this "
            f"model draws {size[0]}x{size[1]}"
        )
    sample = dict(receipt.shown, warnings=())
    inferencer.model.check_sample(sample)
    return inferencer.draw([sample], **receipt.settings, **options)[0]


def _encoded(array: np.ndarray) -> str:
    picture = array * np.uint8(255) if array.ndim == 2 else array
    return base64.b64encode(png(picture).data).decode("ascii")


def _decoded(name: str, text: str) -> np.ndarray:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(f"its {name} is no picture") from None
    mode = "mask" if name in MASKS else "rgb"
    array = read_image(MemoryFile(f"its {name}", data), mode, MAX_PIXELS)
    return (array > 127).astype(np.uint8) if mode == "mask" else array
