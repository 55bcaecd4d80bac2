"""How flows are counted, sampled and resized: pixel centres everywhere, or as weights were trained.

A network trained under one arithmetic moves its pixels by up to a pixel under the other
(configs/gcl3d/README.md has what each rule does).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vtonlab.ops.warp import Size, identity_flow, token_flow
from vtonlab.utils.upload import constant

OUTSIDE, SHRINKING, REGIONS = ("border", "zeros"), ("area", "points"), ("both", "correlation")


@dataclass(frozen=True, kw_only=True)
class FlowArithmetic:
    """Rules for flows ``(B, h, w, 2)``, absolute in [0, 1] over the garment picture.

    Args:
        corners: False: pixel i of n stands at ``(i + 0.5) / n``. True: at ``i / (n - 1)``, and
            samples are read as if it stood at the former, so that a zero offset is not the
            identity.
        row_fraction: True: the row of a coarse garment token is its number over the row's length,
            not rounded down: it is too large by ``column / width``.
        outside: what lies outside the garment picture: its ``"border"`` repeated, or ``"zeros"``.
        shrinking: how garment and mask become as small as the tokens: the mean of an ``"area"``, or
            bilinear ``"points"`` without antialiasing.
        region: where the warped garment is: where the correlation and the garment's own mask
            agree (``"both"``), or the ``"correlation"`` alone.

    Raises:
        ValueError: another word than these.
    """

    corners: bool = False
    row_fraction: bool = False
    outside: str = "border"
    shrinking: str = "area"
    region: str = "both"

    def __post_init__(self) -> None:
        for name, known in (("outside", OUTSIDE), ("shrinking", SHRINKING), ("region", REGIONS)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"arithmetic: {name} {value!r} is none of {', '.join(known)}")

    def identity(self, size: Size, like: Tensor) -> Tensor:
        """``(h, w, 2)``: where each pixel stands."""
        if not self.corners:
            return identity_flow(size, like)
        y, x = (torch.linspace(0, 1, n, device=like.device, dtype=like.dtype) for n in size)
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)

    def pixels(self, size: Size, like: Tensor) -> Tensor:
        """``(2,)``: how many pixels of a picture of ``size`` the coordinates (x, y) 1 are."""
        return constant(tuple(n - self.corners for n in reversed(size)), like.device, like.dtype)

    def offset(self, flow: Tensor, size: Size) -> Tensor:
        """``(B, 2, h, w)``: what the flow adds to the identity, in pixels of a garment picture of
        ``size``.
        """
        moved = flow - self.identity(flow.shape[1:3], flow)
        return (moved * self.pixels(size, flow)).permute(0, 3, 1, 2)

    def absolute(self, offset: Tensor, size: Size) -> Tensor:
        """Inverse of :meth:`offset`."""
        moved = offset.permute(0, 2, 3, 1) / self.pixels(size, offset)
        return self.identity(offset.shape[-2:], offset) + moved

    def sample(self, picture: Tensor, flow: Tensor) -> Tensor:
        """``picture (B, C, Hg, Wg)`` at ``flow (B, h, w, 2)``: bilinear, ``(B, C, h, w)``."""
        return F.grid_sample(
            picture, flow.to(picture.dtype) * 2 - 1, padding_mode=self.outside, align_corners=False
        )

    def finer(self, flow: Tensor, before: Size, after: Size) -> Tensor:
        """The flow of a coarser scale where the next one starts: its offset, repeated.

        Args:
            flow: of a person picture of the size ``before``; garment pictures are as large.
        """
        units = self.pixels(before, flow) / self.pixels(after, flow)
        ratio = tuple(b / a for a, b in zip(before, after, strict=True))[::-1]
        ratio = constant(ratio, flow.device, flow.dtype)
        moved = (flow - self.identity(before, flow)) * (units * ratio)
        moved = F.interpolate(moved.permute(0, 3, 1, 2), size=tuple(after), mode="nearest")
        return self.identity(after, flow) + moved.permute(0, 2, 3, 1)

    def resize(self, flow: Tensor, size: Size) -> Tensor:
        """A flow for a person picture of another size, bilinear.

        The offset is resized, so that the identity stays the identity; with ``corners`` the
        positions themselves are.
        """
        if tuple(flow.shape[1:3]) == tuple(size):
            return flow
        start = 0 if self.corners else identity_flow(flow.shape[1:3], flow)
        moved = (flow - start).permute(0, 3, 1, 2)
        moved = F.interpolate(moved, size=tuple(size), mode="bilinear", align_corners=False)
        moved = moved.permute(0, 2, 3, 1)
        return moved if self.corners else identity_flow(size, flow) + moved

    def start(self, index: Tensor, query_grid: Size, key_grid: Size, like: Tensor) -> Tensor:
        """The coarse flow that looks at garment tokens ``index (B, Nq)``: (B, h, w, 2)."""
        if not (self.corners or self.row_fraction):
            return token_flow(index, query_grid, key_grid, like)
        width = key_grid[1]
        column = (index % width).to(like.dtype)
        row = (index // width).to(like.dtype)
        if self.row_fraction:
            row = row + column / width
        place = torch.stack([column, row], -1)  # (B, Nq, 2), tokens
        shift = 0.0 if self.corners else 0.5
        place = (place + shift) / self.pixels(key_grid, like)
        return place.unflatten(1, tuple(query_grid))

    def shrink(self, picture: Tensor, size: Size) -> Tensor:
        """A picture ``(B, C, H, W)`` as small as the tokens."""
        if self.shrinking == "area":
            return F.adaptive_avg_pool2d(picture, tuple(size))
        return F.interpolate(picture, size=tuple(size), mode="bilinear", align_corners=False)


PIXEL_CENTRES = FlowArithmetic()
