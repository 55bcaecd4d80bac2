"""Recording queries and keys of attention layers, and the facts about their token layouts."""

from vtonlab.attention.layers import (
    AttentionLayer,
    attention_kind,
    list_attention_layers,
    select_by_kind,
    select_by_ratio,
    select_layers,
)
from vtonlab.attention.layouts import image_span, image_start, text_span, token_order
from vtonlab.attention.recorder import AttentionRecorder

__all__ = [
    "AttentionLayer",
    "AttentionRecorder",
    "attention_kind",
    "image_span",
    "image_start",
    "list_attention_layers",
    "select_by_kind",
    "select_by_ratio",
    "select_layers",
    "text_span",
    "token_order",
]
