"""Losses over attention records."""

from vtonlab.losses.attention_entropy import AttentionEntropyLoss
from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.correspondence_distillation import CorrespondenceDistillationLoss

__all__ = ["AttentionEntropyLoss", "AttentionLoss", "CorrespondenceDistillationLoss"]
