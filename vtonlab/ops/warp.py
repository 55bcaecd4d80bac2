"""Differentiable warping by absolute flows, in torch.

A flow ``(B, h, w, 2)`` says for each person pixel where its garment point lies: ``(x, y)`` in
[0, 1] over the garment picture, the centre of pixel ``i`` of ``n`` at ``(i + 0.5) / n``. One flow
serves pictures and features of every size, and the identity flow returns a picture of its own size
as it is (METHODS.md G2: one convention everywhere). Its *offset* is what it adds to the identity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]  # (height, width)


def identity_flow(size: Size, like: Tensor) -> Tensor:
    """``(h, w, 2)``: each pixel's own centre, in the type and on the device of ``like``."""
    y, x = ((torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n for n in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def sample_at(picture: Tensor, flow: Tensor) -> Tensor:
    """``picture (B, C, Hg, Wg)`` at ``flow (B, h, w, 2)``: bilinear, ``(B, C, h, w)``.

    Outside the picture its border is repeated. Gradients reach both.
    """
    return F.grid_sample(
        picture, flow.to(picture.dtype) * 2 - 1, padding_mode="border", align_corners=False
    )


def resize_flow(flow: Tensor, size: Size, mode: str = "bilinear") -> Tensor:
    """A flow ``(B, h, w, 2)`` for a person picture of another size: its offset is resized.

    The identity stays the identity, and a constant offset stays constant, up to the border.

    Args:
        mode: ``"bilinear"``, or ``"nearest"``, which does not blend neighbours that look at
            different parts of the garment.
    """
    if tuple(flow.shape[1:3]) == tuple(size):
        return flow
    offset = (flow - identity_flow(flow.shape[1:3], flow)).permute(0, 3, 1, 2)
    corners = {} if mode == "nearest" else {"align_corners": False}
    offset = F.interpolate(offset, size=tuple(size), mode=mode, **corners)
    return identity_flow(size, flow) + offset.permute(0, 2, 3, 1)


def token_flow(index: Tensor, query_grid: Size, key_grid: Size, like: Tensor) -> Tensor:
    """The flow that looks at the centres of garment tokens ``index (B, Nq)``: (B, h, w, 2).

    With the most attended token of each query it is 3D-GCL's f_0; it has no gradient.
    """
    centres = identity_flow(key_grid, like).flatten(0, 1)  # (Nk, 2)
    return centres[index].unflatten(1, tuple(query_grid))


def dilate(mask: Tensor, radius: int = 1) -> Tensor:
    """Largest value of ``mask (B, 1, h, w)`` in a square of ``2 radius + 1`` pixels around each."""
    return F.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius)


def on_white(picture: Tensor, mask: Tensor) -> Tensor:
    """``picture (B, 3, H, W)`` in [-1, 1] where ``mask (B, 1, H, W)`` is 1, white where it is 0."""
    return picture * mask + (1 - mask)
