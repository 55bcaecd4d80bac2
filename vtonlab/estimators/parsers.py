"""Human parsers that transformers loads, their labels made LIP's."""

from collections.abc import Mapping

import cv2
import numpy as np

from vtonlab.estimators.base import ParseEstimator
from vtonlab.ops.labels import atr_to_lip
from vtonlab.registry import ESTIMATORS

# SegFormer-clothes (mattmdjaga/segformer_b2_clothes) numbers like ATR but for its legs and arms.
LABELS = {
    "lip": {i: i for i in range(20)},  # SCHP-LIP
    "atr": {i: int(n) for i, n in enumerate(atr_to_lip(np.arange(18, dtype=np.uint8)))},  # SCHP-ATR
    "segformer_clothes": {
        0: 0, 1: 1, 2: 2, 3: 4, 4: 5, 5: 12, 6: 9, 7: 6, 8: 9, 9: 18, 10: 19, 11: 13, 12: 16,
        13: 17, 14: 14, 15: 15, 16: 0, 17: 11,
    },
}  # fmt: skip


@ESTIMATORS.register_module()
class TransformersParser(ParseEstimator):
    """A network for semantic segmentation (``AutoModelForSemanticSegmentation``).

    Args:
        model: folder or name on the hub.
        labels: what its numbers mean: ``lip``, ``atr``, ``segformer_clothes``, or a mapping of its
            numbers to LIP's; numbers that are left out are background.
        size: (height, width) at which the network sees pictures.
        mean, std: of RGB in [0, 1], that it was trained with.
        device: where it runs.

    Raises:
        ValueError: unknown labels; at the first call, a network with numbers that none of them
            names.
    """

    def __init__(
        self,
        *,
        model: str,
        labels: str | Mapping[int, int] = "segformer_clothes",
        size: tuple[int, int] = (512, 512),
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        device: str = "cpu",
    ) -> None:
        if isinstance(labels, str) and labels not in LABELS:
            raise ValueError(f"labels {labels!r} is none of {', '.join(LABELS)}, nor a mapping")
        mapping = LABELS[labels] if isinstance(labels, str) else labels
        self.labels = {int(k): int(v) for k, v in mapping.items()}
        if not all(0 <= v < 20 for v in self.labels.values()):
            raise ValueError("labels must lead to LIP's numbers, 0 to 19")
        self.model, self.size, self.device = model, tuple(size), device
        self.mean, self.std = mean, std
        self.network = None

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        import torch

        if self.network is None:
            self.network = self._load()
        small = cv2.resize(picture, self.size[::-1], interpolation=cv2.INTER_AREA)
        pixels = (small.astype(np.float32) / 255 - self.mean) / self.std
        batch = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None].to(self.device)
        with torch.no_grad():
            logits = self.network(pixel_values=batch).logits
            logits = torch.nn.functional.interpolate(logits, picture.shape[:2], mode="bilinear")
        table = np.zeros(logits.shape[1], np.uint8)
        for number, label in self.labels.items():
            table[number] = label
        return table[logits[0].argmax(0).cpu().numpy()]

    def _load(self):
        from transformers import AutoModelForSemanticSegmentation

        try:
            network = AutoModelForSemanticSegmentation.from_pretrained(self.model)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise FileNotFoundError(
                f"the human parser {self.model} cannot be loaded ({reason}): name a folder that "
                "holds it"
            ) from None
        known = network.config.num_labels
        if max(self.labels) >= known:
            raise ValueError(
                f"{self.model} has {known} labels, but label {max(self.labels)} was to be read: "
                f"labels must be its own set ({', '.join(LABELS)} or a mapping)"
            )
        return network.eval().to(self.device)
