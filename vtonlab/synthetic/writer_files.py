"""Encoders of the files that data sets are made of; each gives the same bytes every time."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from vtonlab.ops.labels import LIP_PALETTE
from vtonlab.ops.skeleton import COCO_18

JPEG_QUALITY = 95


def jpeg(image: np.ndarray) -> bytes:
    """RGB (H, W, 3) or grey (H, W) uint8 as JPEG; lossy, as the data sets ship photographs."""
    return _encoded(Image.fromarray(image), "JPEG", quality=JPEG_QUALITY)


def png(image: np.ndarray) -> bytes:
    """RGB (H, W, 3) or grey (H, W) uint8 as PNG, exact."""
    return _encoded(Image.fromarray(image), "PNG")


def palette_png(labels: np.ndarray) -> bytes:
    """A label map (H, W) as PNG whose palette shows LIP's colours; the pixels hold the labels."""
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    image.putpalette(LIP_PALETTE.tobytes())
    return _encoded(image, "PNG")


def grey_mask(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) in {0, 1} as grey picture in {0, 255}."""
    return mask.astype(np.uint8) * np.uint8(255)


def rgb_mask_png(mask: np.ndarray) -> bytes:
    """A mask (H, W) in {0, 1} as PNG of three equal channels, VITON-HD's ``agnostic-mask``."""
    return png(np.repeat(grey_mask(mask)[..., None], 3, 2))


def json_bytes(value: object) -> bytes:
    """JSON without needless blanks, keys in their order, one line."""
    return (json.dumps(value, separators=(",", ":")) + "\n").encode()


def run_length(mask: np.ndarray) -> dict:
    """A mask (H, W) in {0, 1} as COCO run-length code: ``size`` [height, width] and ``counts``."""
    from pycocotools import mask as coco

    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def coco_instances(images: Sequence[tuple[str, dict]], name: str) -> dict:
    """A COCO instances file of one mask per picture.

    Args:
        images: File name of each picture and its :func:`run_length`.
        name: Name of the one category.
    """
    from pycocotools import mask as coco

    pictures, annotations = [], []
    for number, (file_name, code) in enumerate(images, 1):
        height, width = code["size"]
        pictures.append({"id": number, "file_name": file_name, "height": height, "width": width})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "segmentation": code,
                "area": int(coco.area(code)),
                "bbox": [float(v) for v in coco.toBbox(code)],
                "iscrowd": 1,
            }
        )
    return {
        "images": pictures,
        "annotations": annotations,
        "categories": [{"id": 1, "name": name}],
    }


def openpose_json(keypoints: np.ndarray, height: int, width: int) -> bytes:
    """OpenPose's file of one person in BODY_25, pixel indices; joints not seen are 0, 0, 0.

    Args:
        keypoints: (25, 3): x, y in [0, 1], confidence.
        height, width: Size of the picture in pixels.
    """
    pixels = _pixels(keypoints, height, width)
    person = {"person_id": [-1], "pose_keypoints_2d": pixels.reshape(-1).tolist()}
    for part in ("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"):
        person[part] = []
    for part in ("pose", "face", "hand_left", "hand_right"):
        person[f"{part}_keypoints_3d"] = []
    return json_bytes({"version": 1.3, "people": [person]})


def coco18_json(keypoints: np.ndarray, height: int, width: int) -> bytes:
    """Dress Code's keypoints: 18 of [x, y, confidence, number], at the given size in pixels."""
    pixels = _pixels(keypoints, height, width)[list(COCO_18)].tolist()
    return json_bytes({"keypoints": [[*row, float(i)] for i, row in enumerate(pixels)]})


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as a compressed ``.npz`` without time stamps, readable with ``numpy.load``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, npy(array))
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    """One array as ``.npy``."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


def lines(rows: Sequence[Sequence[str]], separator: str = " ") -> bytes:
    """A list file, one row a line."""
    return "".join(separator.join(row) + "\n" for row in rows).encode()


def _pixels(keypoints: np.ndarray, height: int, width: int) -> np.ndarray:
    """(K, 3) in [0, 1] to pixel indices with a thousandth of a pixel, as OpenPose writes them."""
    keypoints = np.asarray(keypoints, np.float64)
    pixels = keypoints * (width, height, 1.0) - (0.5, 0.5, 0.0)
    return np.where(keypoints[:, 2:] > 0, np.round(pixels, 3), 0.0)


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
