"""ONNX networks of the user's own, run by OpenCV."""

import threading
from pathlib import Path

import cv2
import numpy as np

from vtonlab.utils.bounded.source import content, naming

MAX_NETWORK = 2**31  # bytes of a network's file: what ONNX's own format can hold


class OnnxNetwork:
    """A network with one input picture; it may be called from several threads.

    Args:
        file: ``.onnx``, with its weights inside.
        mean, std: of RGB in 0 to 255, that the network was trained with.

    Raises:
        FileNotFoundError: no such file.
        FileError: OpenCV cannot read it.
    """

    def __init__(
        self,
        file: str | Path,
        mean: tuple[float, float, float] = (0, 0, 0),
        std: tuple[float, float, float] = (1, 1, 1),
    ) -> None:
        data = np.frombuffer(content(file, MAX_NETWORK), np.uint8)
        with naming(file):
            self.network = cv2.dnn.readNetFromONNX(data)
            if self.network.empty():
                raise ValueError("it is no ONNX network that OpenCV can run")
        self.file, self.lock = str(file), threading.Lock()
        self.mean, self.std = np.float32(mean), np.float32(std)

    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Output name -> array, for one picture (H, W, 3) of the network's size.

        Raises:
            FileError: a picture of this size is not what the network takes.
        """
        pixels = ((picture - self.mean) / self.std).astype(np.float32)
        names = self.network.getUnconnectedOutLayersNames()
        with self.lock, naming(self.file):
            self.network.setInput(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
            found = self.network.forward(names)
            return {name: array.copy() for name, array in zip(names, found, strict=True)}
