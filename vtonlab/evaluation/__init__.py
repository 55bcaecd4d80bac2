"""Metrics and reports."""

from vtonlab.evaluation.attention_pck import AttentionPCK
from vtonlab.evaluation.image_errors import ImageErrors

__all__ = ["AttentionPCK", "ImageErrors"]
