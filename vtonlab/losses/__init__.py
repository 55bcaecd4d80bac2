"""Losses over attention records, pictures and scores."""

from vtonlab.losses.adversarial import NonSaturatingLoss
from vtonlab.losses.attention_entropy import AttentionEntropyLoss
from vtonlab.losses.attention_flow import AttentionFlowLoss
from vtonlab.losses.attention_tv import AttentionTVLoss
from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.correlation_regularization import CorrelationRegularizationLoss
from vtonlab.losses.correspondence_distillation import CorrespondenceDistillationLoss
from vtonlab.losses.flow_regression import FlowRegressionLoss
from vtonlab.losses.keypoint_attention import KeypointAttentionLoss
from vtonlab.losses.pictures import L1Loss, PerceptualLoss

__all__ = [
    "AttentionEntropyLoss",
    "AttentionFlowLoss",
    "AttentionLoss",
    "AttentionTVLoss",
    "CorrelationRegularizationLoss",
    "CorrespondenceDistillationLoss",
    "FlowRegressionLoss",
    "KeypointAttentionLoss",
    "L1Loss",
    "NonSaturatingLoss",
    "PerceptualLoss",
]
