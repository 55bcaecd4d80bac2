"""Masks over the keys of attention, as numbers that are added to the scores of a sample's keys.

Only masks that are the same for every query and head are known here ("key padding"): they keep all
statistics linear in memory. Shape letters as in `vtonlab.ops.attention`.
"""

import torch
from torch import Tensor

# What a hidden key's score becomes: its probability is zero to the last bit in float32 and float64,
# and a sample that sees no key at all gets finite numbers.
HIDDEN = -1e30
# An additive mask hides a key by this much or more: exp(-1e4) is zero in float64.
HIDES = -1e4


def key_bias(mask: Tensor | None, dtype: torch.dtype, temperature: float = 1.0) -> Tensor | None:
    """(B, Nk), added to scores: from a bool mask (True = seen) or an additive one; None for none.

    A temperature divides what an additive mask adds, as it divides the scores.
    """
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, HIDDEN)
    return (mask.to(dtype) / temperature).clamp_min(HIDDEN)


def is_graded(mask: Tensor | None) -> bool:
    """Whether a mask may do more than show and hide keys: an additive one may."""
    return mask is not None and mask.dtype != torch.bool


def seen_keys(mask: Tensor) -> Tensor:
    """(B, Nk) bool: keys that are not hidden."""
    return mask if mask.dtype == torch.bool else mask > HIDES


def added(score: Tensor, bias: Tensor | None) -> Tensor:
    """(B, H, r, Nk) scores with a bias (B, Nk)."""
    return score if bias is None else score + bias[:, None, None]


def graded_column(bias: Tensor) -> Tensor:
    """(B, Nk): the bias where it is no hiding one, for its mean under attention."""
    return bias.masked_fill(bias <= HIDES, 0.0)


def as_key_mask(mask: Tensor, batch: int, heads: int, queries: int, keys: int) -> Tensor | None:
    """(B, Nk) of a mask as scaled-dot-product attention takes it, (B, Nq, Nk) if queries differ;
    None if heads differ.

    Args:
        mask: broadcasts to (B, H, Nq, Nk); bool (True = seen) or additive.

    An additive mask that only shows and hides (zeros, and numbers of `HIDES` or less) becomes bool.
    Reading its values, and those of a mask that is written out for each query, waits for the GPU.
    """
    mask = mask[(None,) * (4 - mask.ndim)] if mask.ndim < 4 else mask
    first = mask[:, :1]
    if not _all_like(first, mask, 1):
        return None
    mask = first[:, 0]  # (B or 1, Nq or 1, Nk or 1)
    if _all_like(mask[:, :1], mask, 1):
        mask = mask[:, 0].expand(batch, keys)
    else:
        mask = mask.expand(batch, queries, keys)
    if mask.dtype == torch.bool:
        return mask
    shows = mask == 0
    return shows if bool((shows | (mask <= HIDES)).all()) else mask


def mask_of_queries(mask: Tensor | None, index: Tensor) -> Tensor | None:
    """(B, Nk) of a mask (B, Nk) or (B, Nq, Nk) for the queries of ``index``, int64 (R,).

    Padded text may look elsewhere than the pictures do; what counts is that the person's queries
    agree.

    Raises:
        ValueError: they do not.
    """
    if mask is None or mask.ndim == 2:
        return mask
    rows = mask[:, index]
    if not _all_like(rows[:, :1], rows, 1):
        raise ValueError(
            f"the attention mask {tuple(mask.shape)} differs between the person's queries: a "
            "record holds a mask over keys alone; leave this layer unrecorded"
        )
    return rows[:, 0]


def _all_like(first: Tensor, mask: Tensor, axis: int) -> bool:
    if mask.shape[axis] == 1 or mask.stride(axis) == 0:
        return True
    return torch.equal(first.expand_as(mask), mask)
