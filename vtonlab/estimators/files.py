"""Prepared maps as the files that readers know."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from vtonlab.estimators.preparation import Prepared
from vtonlab.ops.labels import LIP_PALETTE, lip_to_atr
from vtonlab.ops.skeleton import COCO_18
from vtonlab.structures.pair_store import write_atomic

DRESSCODE_KEYPOINTS = (512, 384)  # height and width in which Dress Code counts its keypoints


def write_maps(
    prepared: Prepared,
    targets: Mapping[str, Path],
    *,
    parse: str = "lip",
    keypoints: str = "openpose",
) -> None:
    """Write each map to its place: masks as 0 and 255, label maps with LIP's palette, pictures as
    their suffix says (JPEG of quality 95). Folders are made.

    Args:
        prepared: the maps.
        targets: map -> file.
        parse: numbering of the labels: ``lip`` or ``atr``.
        keypoints: form of their JSON: ``openpose`` (BODY_25) or ``dresscode`` (COCO's 18).
    """
    for name, path in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        array = getattr(prepared, name)
        if name == "keypoints":
            data = dresscode_json(array)
            if keypoints == "openpose":
                data = openpose_json(array, *prepared.person.shape[:2])
        else:
            array = lip_to_atr(array) if (name, parse) == ("parse", "atr") else array
            data = encoded(name, array, path.suffix.lower())
        write_atomic(path, data)


def encoded(name: str, array: np.ndarray, suffix: str) -> bytes:
    """A map as the bytes of a picture."""
    if name in ("mask", "garment_mask", "worn_mask"):
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


def dresscode_json(keypoints: np.ndarray) -> bytes:
    """BODY_25 (25, 3) in [0, 1] as Dress Code writes COCO's 18: x, y, confidence and number, in a
    picture of 512x384; joints that are not seen are -1.
    """
    joints = keypoints[list(COCO_18)]
    places = joints[:, :2] * DRESSCODE_KEYPOINTS[::-1] - 0.5
    known = joints[:, 2:] > 0
    values = np.where(known, np.concatenate([np.maximum(places, 0), joints[:, 2:]], 1), -1)
    rows = [[*row, number] for number, row in enumerate(values.round(4).tolist())]
    return json.dumps({"keypoints": rows}).encode()
