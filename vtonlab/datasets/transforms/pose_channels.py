"""What the channels of the pose picture hold: part colours, part numbers, or U, V and part."""

import numpy as np

from vtonlab.ops.labels import densepose_labels
from vtonlab.registry import TRANSFORMS

SHOWS = ("part", "uvi")


@TRANSFORMS.register_module()
class PoseChannels:
    """``pose`` as other weights of Leffa were trained to see it.

    Readers give the coloured rendering, which ``virtual_tryon.pth`` wants. ``virtual_tryon_dc.pth``
    wants the part number, 0 to 24, in all three channels; ``pose_transfer.pth`` wants (U, V, part),
    with U and V stretched to 0 to 255 by their common range over the picture.

    It stands last: mirroring knows colours, not numbers.

    Args:
        show: ``"part"`` (from ``iuv`` where the sample has it, else from the colours of ``pose``)
            or ``"uvi"`` (from ``iuv``: add it to the data set's maps).

    Raises:
        ValueError: another ``show``, or a sample without what it needs.
    """

    def __init__(self, *, show: str) -> None:
        if show not in SHOWS:
            raise ValueError(f"PoseChannels: show={show!r} is none of {', '.join(SHOWS)}")
        self.show = show

    def __call__(self, sample: dict) -> dict:
        if self.show == "uvi":
            if "iuv" not in sample:
                raise ValueError("PoseChannels(show='uvi') needs `iuv`: add it to the maps")
            return {**sample, "pose": uv_and_part(sample["iuv"])}
        if "iuv" not in sample and "pose" not in sample:
            raise ValueError("PoseChannels needs `pose` or `iuv`: add it to the maps")
        found = "iuv" in sample
        parts = sample["iuv"][..., 0] if found else densepose_labels(sample["pose"])
        return {**sample, "pose": np.repeat(parts[..., None], 3, axis=2)}


def uv_and_part(iuv: np.ndarray) -> np.ndarray:
    """DensePose part, U, V (H, W, 3) uint8 as U, V, part; U and V stretched together to 0 to 255,
    truncated.
    """
    uv = iuv[..., 1:].astype(np.float32)
    low, span = uv.min(), np.ptp(uv)
    stretched = (uv - low) / max(span, 1.0) * 255.0
    return np.concatenate([stretched.astype(np.uint8), iuv[..., :1]], axis=2)
