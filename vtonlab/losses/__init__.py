"""Losses over attention records, pictures and scores."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adversarial": ["NonSaturatingLoss"],
        "attention_entropy": ["AttentionEntropyLoss"],
        "attention_flow": ["AttentionFlowLoss"],
        "attention_tv": ["AttentionTVLoss"],
        "base": ["AttentionLoss"],
        "correlation_regularization": ["CorrelationRegularizationLoss"],
        "correspondence_distillation": ["CorrespondenceDistillationLoss"],
        "flow_regression": ["FlowRegressionLoss"],
        "keypoint_attention": ["KeypointAttentionLoss"],
        "pictures": ["L1Loss", "PerceptualLoss"],
    },
)
