"""Between ComfyUI's tensors and vtonlab's arrays.

IMAGE is (B, H, W, C) float in [0, 1], MASK is (B, H, W) float in [0, 1], or (H, W) from some nodes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pictures(images: Tensor) -> list[np.ndarray]:
    """One uint8 RGB array (H, W, 3) for each image; a fourth channel is left out.

    What came from a file of 8 bits is that file again.
    """
    levels = (images[..., :3].float() * 255.0).round().clamp(0, 255).to(torch.uint8)
    return list(levels.cpu().numpy())


def areas(masks: Tensor | None, count: int) -> list[np.ndarray | None]:
    """One bool array (H, W) for each of ``count`` people, True = to be generated; None where there
    is no mask, or an empty one, as *Load Image* gives for a file without alpha.

    Raises:
        ValueError: neither one mask nor ``count``.
    """
    if masks is None:
        return [None] * count
    masks = masks[None] if masks.ndim == 2 else masks
    if len(masks) not in (1, count):
        raise ValueError(f"{len(masks)} masks for {count} people: give one for all, or as many")
    found = [area if area.any() else None for area in (masks > 0.5).cpu().numpy()]
    return found * count if len(found) == 1 else found


def as_images(found: Sequence[np.ndarray]) -> Tensor:
    """IMAGE of uint8 RGB arrays of one size."""
    return torch.from_numpy(np.stack(found)).float() / 255.0


def as_masks(found: Sequence[np.ndarray]) -> Tensor:
    """MASK of arrays (H, W) of one size, of values in [0, 1]."""
    return torch.from_numpy(np.stack(found)).float()


def stretched(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) float values on a grid over a picture of ``size`` (height, width)."""
    grid = torch.from_numpy(values)[None, None]
    return torch.nn.functional.interpolate(grid, size, mode="bilinear")[0, 0].numpy()
