"""Attention records from the joint sequences of multi-modal DiTs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vtonlab.attention import image_start, token_order
from vtonlab.attention.layouts import CONTEXT_KEYS, IMAGE_ONLY
from vtonlab.ops.attention_mask import mask_of_queries
from vtonlab.structures import AttentionRecord
from vtonlab.utils.upload import upload


def joint_records(
    backbone: nn.Module,
    *,
    grid: tuple[int, int],
    person: Tensor,
    garment: Tensor,
    others: Tensor,
    text: Tensor,
    key_grid: tuple[int, int] | None = None,
    reference: str = "garment",
) -> Callable[..., AttentionRecord]:
    """What an `AttentionRecorder` calls: person queries, garment keys, all else the softmax saw.

    Args:
        backbone: whose layers are recorded; where its image tokens begin is looked up.
        grid: (rows, columns) of tokens of the person's picture.
        person, garment: (h * w,) places of their tokens among the image tokens, row by row.
        others: places of all image tokens but the garment's.
        text: (B, T, D) text tokens, on the device of the records.
        key_grid: of the garment's picture; None: ``grid``.
        reference: role of that picture.

    The function raises a ValueError at a layer whose tokens are not these image tokens, alone or
    beside the text: its records would be of other tokens than those they are named after.
    """
    images = garment.numel() + others.numel()
    person, garment, others = (upload(place, text.device) for place in (person, garment, others))

    def to_record(
        name: str, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> AttentionRecord:
        start = image_start(backbone, name, text_length=text.shape[1])
        _check_tokens(backbone, name, query, key, images, text.shape[1])
        text_places = [  # before or after the image; no mask, which would wait for the GPU
            torch.arange(start, device=key.device),
            torch.arange(start + images, key.shape[2], device=key.device),
        ]
        context = torch.cat([text_places[0], start + others, text_places[1]])
        mask = _of_person(name, mask, start + person)
        return AttentionRecord(
            name=name,
            query=query[:, :, start + person],  # (B, H, Nq, D)
            key=key[:, :, start + garment],  # (B, H, Nk, D)
            query_grid=grid,
            key_grid=key_grid or grid,
            scale=scale,
            context_key=key[:, :, context],  # text, person and pose tokens
            key_mask=None if mask is None else mask[:, start + garment],
            context_mask=None if mask is None else mask[:, context],
            reference=reference,
        )

    return to_record


def each_of(builders: Sequence[Callable[..., AttentionRecord]]) -> Callable[..., list]:
    """One function for an `AttentionRecorder` that gives the record of every builder."""

    def to_records(
        name: str, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> list[AttentionRecord]:
        return [build(name, query, key, scale, mask) for build in builders]

    return to_records


def _of_person(name: str, mask: Tensor | None, person: Tensor) -> Tensor | None:
    try:
        return mask_of_queries(mask, person)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from error


def _check_tokens(
    backbone: nn.Module, name: str, query: Tensor, key: Tensor, images: int, text: int
) -> None:
    order = token_order(backbone, name)
    wanted = images if order == IMAGE_ONLY else images + text
    seen = query.shape[2], key.shape[2]
    if order == CONTEXT_KEYS:
        raise ValueError(
            f"layer {name!r} is cross-attention, whose keys hold no garment token: supervise "
            "layers of joint attention"
        )
    if seen != (wanted, wanted):
        raise ValueError(
            f"layer {name!r} sees {seen[0]} queries and {seen[1]} keys, not the {wanted} tokens "
            f"({images} of pictures, {wanted - images} of text) that its order {order!r} tells: "
            "register the tokens of its block in vtonlab.registry.ATTENTION_BLOCKS"
        )
