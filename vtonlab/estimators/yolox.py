"""Boxes of people from a YOLOX network (Ge et al. 2021) in ONNX, as DWPose and RTMPose use it."""

import cv2
import numpy as np

_STRIDES = (8, 16, 32)
_GREY = 114  # what a picture is padded with
_OVERLAP = 0.45  # of boxes, above which the less certain one goes


def find_people(picture: np.ndarray, network, side: int, min_score: float) -> np.ndarray:
    """Boxes (N, 4) of people, x, y, x, y in pixels of ``picture``, the most certain first.

    Args:
        picture: (H, W, 3) uint8 RGB.
        network: gives one output (1, A, 5 + classes) for a picture (side, side, 3) in BGR.
        side: of its input.
        min_score: below which a box holds nobody.
    """
    scale = side / max(picture.shape[:2])
    size = tuple(max(1, round(n * scale)) for n in picture.shape[1::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    seen = np.full((side, side, 3), _GREY, np.uint8)
    seen[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=how)
    (raw,) = network(seen[..., ::-1]).values()
    boxes, scores = decode(raw.reshape(-1, raw.shape[-1]), side)
    likely = scores > min_score
    boxes, scores = boxes[likely] / scale, scores[likely]
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    kept = cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), min_score, _OVERLAP)
    return boxes[np.array(kept, int).ravel()]


def decode(raw: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (A, 4), x, y, x, y in pixels of the input, and each one's score of a person (A,).

    Args:
        raw: (A, 5 + classes): place in units of the cell, logarithm of the size, objectness, and
            classes, of which the first is a person. Cells go row by row, the finest grid first.
        side: of the input.

    Raises:
        ValueError: not as many anchors as cells.
    """
    cells, strides = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[: side // stride, : side // stride]
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        strides += [stride] * len(cells[-1])
    if len(raw) != len(strides) or raw.shape[1] < 6:
        raise ValueError(
            f"the detector's output {raw.shape} is not that of YOLOX for {side}x{side} pixels, "
            f"({len(strides)}, 5 + classes): set detector_size, and export it without its own "
            "suppression of double boxes"
        )
    step = np.float32(strides)[:, None]
    middle = (raw[:, :2] + np.concatenate(cells)) * step
    half = np.exp(np.minimum(raw[:, 2:4], 20)) * step / 2
    return np.concatenate([middle - half, middle + half], 1), raw[:, 4] * raw[:, 5]
