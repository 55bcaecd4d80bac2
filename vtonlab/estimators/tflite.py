"""TFLite networks through OpenCV, and through ai-edge-litert for what OpenCV cannot run."""

import threading
from functools import cache

import cv2
import numpy as np

from vtonlab.estimators import weights


class TFLiteNetwork:
    """A network of `weights.FILES`, run by OpenCV; it may be called from several threads.

    Args:
        name: of the file.
        outputs: layers to read, in the order to return them.
    """

    def __init__(self, name: str, outputs: tuple[str, ...]) -> None:
        # OpenCV 5's new engine gives wrong shapes for named outputs.
        self.network = cv2.dnn.readNetFromTFLite(str(weights.path(name)), cv2.dnn.ENGINE_CLASSIC)
        self.outputs, self.lock = outputs, threading.Lock()

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """Outputs for one float32 picture (H, W, 3)."""
        with self.lock:
            self.network.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
            return [o.copy() for o in self.network.forward(list(self.outputs))]


class PersonDetectorNetwork:
    """BlazePose's detector, whose sparse weights only ai-edge-litert unpacks."""

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.network = Interpreter(str(weights.path("pose_detection.tflite")), num_threads=1)
        self.network.allocate_tensors()
        self.lock = threading.Lock()

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes with points (2254, 12) and logits (2254,) of a picture (224, 224, 3) in [-1, 1]."""
        with self.lock:
            self.network.set_tensor(self.network.get_input_details()[0]["index"], picture[None])
            self.network.invoke()
            found = [self.network.get_tensor(o["index"]) for o in self.network.get_output_details()]
        boxes, logits = sorted(found, key=lambda array: -array.shape[-1])
        return boxes[0], logits[0, :, 0]


@cache
def landmark_network() -> TFLiteNetwork:
    """39 landmarks x 5 in pixels of 256, the score of a person, and its matte's logits."""
    return TFLiteNetwork("pose_landmark_full.tflite", ("Identity", "Identity_1", "Identity_2"))


@cache
def selfie_network() -> TFLiteNetwork:
    """Person probability (1, 1, 256, 256) of a picture of 256x256 in [0, 1]."""
    return TFLiteNetwork("selfie_segmentation.tflite", ("activation_10",))


@cache
def detector_network() -> PersonDetectorNetwork | None:
    """The detector, or None where ai-edge-litert is not installed."""
    try:
        return PersonDetectorNetwork()
    except ImportError:
        return None
