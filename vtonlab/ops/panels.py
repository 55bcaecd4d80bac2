"""Panels of an in-context diptych: packing, positions and index maps.

A DiT that sees garment, person and pose side by side works on one canvas of latents ``(B, C, h, P *
w)`` with ``P`` panels of equal size. FLUX packs 2 x 2 latents into a token; tokens run row-major
over the *whole* canvas, so the tokens of one panel are not contiguous. Everything here is index
arithmetic; nothing knows a model (METHODS.md 1.2).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

GARMENT, PERSON, POSE = 0, 1, 2


def pack_latents(latents: Tensor) -> Tensor:
    """Fold 2 x 2 latents into one token: ``(B, C, h, w)`` to ``(B, h/2 * w/2, 4C)``, channel order
    (c, row, column).
    """
    batch, channels, height, width = latents.shape
    if height % 2 or width % 2:
        raise ValueError(f"latents of {height}x{width} cannot be packed 2x2: use even sizes")
    tokens = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return tokens.permute(0, 2, 4, 1, 3, 5).reshape(batch, height * width // 4, channels * 4)


def unpack_latents(tokens: Tensor, height: int, width: int) -> Tensor:
    """Inverse of :func:`pack_latents`; ``height`` and ``width`` are those of the latents."""
    batch, _, features = tokens.shape
    latents = tokens.reshape(batch, height // 2, width // 2, features // 4, 2, 2)
    return latents.permute(0, 3, 1, 4, 2, 5).reshape(batch, features // 4, height, width)


def mask_to_channels(mask: Tensor, factor: int) -> Tensor:
    """Keep every mask pixel: ``(B, 1, H, W)`` to ``(B, factor^2, H/factor, W/factor)``, as
    FLUX.1-Fill takes masks.
    """
    return F.pixel_unshuffle(mask, factor)


def join_panels(*panels: Tensor) -> Tensor:
    """Set ``(B, C, h, w)`` panels side by side: ``(B, C, h, P * w)``."""
    return torch.cat(panels, dim=-1)


def panel_indices(grid: tuple[int, int], panels: int, panel: int) -> Tensor:
    """Positions of one panel's tokens, ``(h * w,)`` in the panel's own row-major order, within the
    canvas sequence.
    """
    height, width = grid
    rows = torch.arange(height)[:, None] * (panels * width)
    columns = torch.arange(width)[None, :] + panel * width
    return (rows + columns).reshape(-1)


def panel_position_ids(grid: tuple[int, int], panels: int) -> Tensor:
    """FLUX position ids ``(h * P * w, 3)``: (0, row, column); a third (pose) panel reuses the
    person panel's columns.

    So pose and person tokens share their rotary positions, as CORAL's pose panel does (METHODS.md
    1.2).
    """
    height, width = grid
    columns = torch.arange(panels * width)
    if panels > POSE:
        columns[POSE * width :] -= width
    ids = torch.zeros(height, panels * width, 3)
    ids[..., 1] = torch.arange(height)[:, None]
    ids[..., 2] = columns[None, :]
    return ids.reshape(-1, 3)


def dynamic_shift(
    sequence_length: int,
    base_length: int = 256,
    max_length: int = 4096,
    base_shift: float = 0.5,
    max_shift: float = 1.15,
) -> float:
    """FLUX's ``mu``: linear in the number of image tokens of the whole canvas (METHODS.md 1.5)."""
    slope = (max_shift - base_shift) / (max_length - base_length)
    return base_shift + (sequence_length - base_length) * slope


def empirical_shift(sequence_length: int, num_steps: int) -> float:
    """FLUX.2's ``mu``, from the image tokens that are generated and the number of sampling steps.

    Two lines in the sequence length were fitted, at 10 and at 200 steps; between and beyond them
    ``mu`` is linear in the steps. Above 4 300 tokens the second line holds for any number.
    """
    at_200 = 0.00016927 * sequence_length + 0.45666666
    if sequence_length > 4300:
        return at_200
    at_10 = 8.73809524e-05 * sequence_length + 1.89833333
    return at_200 + (at_10 - at_200) * (200 - num_steps) / 190


def place_ids(
    latent_size: Sequence[int], first: float, *, scale: float = 1.0, start: float = 0.0
) -> Tensor:
    """Position ids ``(h/2 * w/2, 3)`` of latents ``(h, w)``: (``first``, row, column), rows and
    columns times ``scale`` plus ``start``.
    """
    height, width = latent_size[0] // 2, latent_size[1] // 2
    ids = torch.full((height, width, 3), float(first))
    ids[..., 1] = torch.arange(height)[:, None] * scale + start
    ids[..., 2] = torch.arange(width) * scale + start
    return ids.reshape(-1, 3)


def text_position_ids(length: int) -> Tensor:
    """FLUX.2 position ids of text ``(length, 4)``: (0, 0, 0, number)."""
    ids = torch.zeros(length, 4)
    ids[:, 3] = torch.arange(length)
    return ids
