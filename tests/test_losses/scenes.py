"""Every attention loss, and a batch in which some samples have nothing to supervise."""

import pytest
import torch

from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.flow_field import FlowField

SINKS = {f"blocks.{i}.attn": (2, 4) for i in range(3)}
LOSSES = {
    "regression": {"type": "CorrespondenceDistillationLoss"},
    "cross_entropy": {"type": "CorrespondenceDistillationLoss", "form": "cross_entropy"},
    "joint": {"type": "CorrespondenceDistillationLoss", "normalization": "joint"},
    "entropy": {"type": "AttentionEntropyLoss"},
    "entropy_per_head": {"type": "AttentionEntropyLoss", "head_reduction": "none"},
    "entropy_mask": {"type": "AttentionEntropyLoss", "queries": "mask"},
    "keypoint": {"type": "KeypointAttentionLoss"},
    "flow": {"type": "AttentionFlowLoss"},
    "flow_sinks": {"type": "AttentionFlowLoss", "sink_dims": SINKS},
    "tv": {"type": "AttentionTVLoss"},
    "correlation": {"type": "CorrelationRegularizationLoss"},
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def build(name, **options):
    return ATTENTION_LOSSES.build(LOSSES[name] | options)


def scene(naive, batch=4, empty=(1, 2), dtype=torch.float64, context=3):
    """Case, tensors and a batch in which the samples of ``empty`` have nothing to supervise."""
    case = naive.Case(batch, 2, 4, (4, 3), (3, 5), context, 2.0, 5)
    out = case.pictures(dtype, size=(24, 18))
    generator = torch.Generator().manual_seed(0)
    matches, flows = [], []
    for sample in range(batch):
        n = 0 if sample in empty else 3 + 4 * sample
        matches.append(Correspondences(*torch.rand(2, n, 2, generator=generator)))
        visible = torch.ones(24, 18, dtype=torch.bool) & (sample not in empty)
        flows.append(FlowField(torch.rand(24, 18, 2, generator=generator), visible))
    for sample in empty:
        out["worn_mask"][sample] = 0
    out["garment_mask"] = torch.ones_like(out["garment_mask"])
    return case, case.tensors(dtype), out | {"correspondences": matches, "flow": flows}


def part(batch, rows):
    return {k: [v[i] for i in rows] if isinstance(v, list) else v[rows] for k, v in batch.items()}
