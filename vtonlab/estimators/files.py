"""Prepared maps as the files that readers know."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from vtonlab.estimators.preparation import Prepared
from vtonlab.ops.labels import LIP_PALETTE
from vtonlab.structures.pair_store import write_atomic


def write_maps(prepared: Prepared, targets: Mapping[str, Path]) -> None:
    """Write each map to its place: masks as 0 and 255, label maps with LIP's palette, keypoints as
    OpenPose's JSON, pictures as their suffix says (JPEG of quality 95). Folders are made.
    """
    for name, path in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, encoded(name, getattr(prepared, name), prepared, path.suffix.lower()))


def encoded(name: str, array: np.ndarray, prepared: Prepared, suffix: str) -> bytes:
    """A map as the bytes of a file."""
    if name == "keypoints":
        return openpose_json(array, *prepared.person.shape[:2])
    if name in ("mask", "garment_mask"):
        array = array * np.uint8(255)
    if name == "matte":
        array = np.rint(array * 255).astype(np.uint8)
    image = Image.fromarray(array)
    if name == "parse":
        image.putpalette(LIP_PALETTE.tobytes())
    return picture_bytes(image, suffix)


def picture_bytes(image: Image.Image, suffix: str) -> bytes:
    """A picture as JPEG (quality 95, full colour) or PNG."""
    stream = io.BytesIO()
    if suffix in (".jpg", ".jpeg"):
        image.save(stream, "JPEG", quality=95, subsampling=0)
    else:
        image.save(stream, "PNG")
    return stream.getvalue()


def openpose_json(keypoints: np.ndarray, height: int, width: int) -> bytes:
    """BODY_25 (25, 3) in [0, 1] as OpenPose writes it: pixel i is centred at i."""
    known = keypoints[:, 2:] > 0
    places = np.where(known, keypoints[:, :2] * (width, height) - 0.5, 0)
    values = np.concatenate([places, keypoints[:, 2:]], 1).round(4).ravel().tolist()
    people = [{"person_id": [-1], "pose_keypoints_2d": values}]
    return json.dumps({"version": 1.3, "people": people}).encode()
