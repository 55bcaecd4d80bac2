"""A garment picture completed from another view of itself: no body, no try-on, only copying."""

from collections.abc import Sequence

import cv2
import numpy as np

from vtonlab.ops.agnostic import agnostic_picture
from vtonlab.ops.labels import densepose_picture
from vtonlab.registry import TRANSFORMS

KNOWN = {
    *"id garment_id category index position rng source_size garment_source_size".split(),
    *"person garment agnostic mask garment_mask pose".split(),
}
_TORSO = 1  # DensePose part whose colour shows where cloth lies


@TRANSFORMS.register_module()
class TextureCompletion:
    """Puts the shop picture of the garment, moved, in the place of the person, and hides a part.

    The moved picture is ``person``; ``mask`` is one rectangle over the cloth; ``pose`` shows the
    outline of the cloth. Whoever fills the hole must find each place in ``garment``. Keys of the
    worn garment (flow, correspondences, parse, ...) would be wrong and may not be there.

    Args:
        shift: largest shift in either direction, as a share of width and height.
        scale: ``(smallest, largest)`` factor.
        rotate: largest turn in either direction, degrees.
        hole: ``(smallest, largest)`` share of the cloth's box that is hidden along either side.

    Raises:
        ValueError: a sample knows more than pictures: ask its data set for ``maps=[]``.
    """

    def __init__(
        self,
        *,
        shift: float = 0.1,
        scale: Sequence[float] = (0.8, 1.15),
        rotate: float = 12.0,
        hole: Sequence[float] = (0.5, 1.0),
    ) -> None:
        self.shift, self.scale, self.rotate, self.hole = shift, tuple(scale), rotate, tuple(hole)

    def __call__(self, sample: dict) -> dict:
        further = sorted(set(sample) - KNOWN)
        if further:
            raise ValueError(f"TextureCompletion: {further[0]!r} is of a worn garment: set maps=[]")
        rng, garment = sample["rng"], sample["garment"]
        height, width = garment.shape[:2]
        middle = ((width - 1) / 2, (height - 1) / 2)
        turn = rng.uniform(-self.rotate, self.rotate)
        matrix = cv2.getRotationMatrix2D(middle, turn, rng.uniform(*self.scale))
        matrix[:, 2] += rng.uniform(-self.shift, self.shift, 2) * (width, height)
        paper = tuple(int(value) for value in garment[0, 0])
        moved = cv2.warpAffine(garment, matrix, (width, height), borderValue=paper)
        cloth = cv2.warpAffine(sample["garment_mask"], matrix, (width, height), flags=0)
        mask = self._hole(rng, cloth)
        pose = densepose_picture(cloth * np.uint8(_TORSO))
        agnostic = agnostic_picture(moved, mask)
        made = dict(person=moved, mask=mask, pose=pose, agnostic=agnostic)
        if "source_size" in sample:
            made["source_size"] = (height, width)  # the moved picture fills its canvas
        return sample | made

    def _hole(self, rng: np.random.Generator, cloth: np.ndarray) -> np.ndarray:
        """(h, w) uint8: a rectangle within the box of the cloth, a little beyond it where whole."""
        rows, columns = np.flatnonzero(cloth.any(1)), np.flatnonzero(cloth.any(0))
        mask = np.zeros_like(cloth)
        if not len(rows):
            return mask
        box = []
        for line in (rows, columns):
            start, length = line[0] - 2, line[-1] - line[0] + 5
            part = round(length * rng.uniform(*self.hole))
            first = max(start + int(rng.integers(0, length - part + 1)), 0)
            box.append(slice(first, first + part))
        mask[tuple(box)] = 1
        return mask
