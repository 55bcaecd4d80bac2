"""A tiny CORAL model and a batch with known correspondences."""

import numpy as np
import pytest
import torch

from vtonlab.models import TryOnDiffusion
from vtonlab.structures import Correspondences, FlowField
from vtonlab.structures.sample import collate

LAYERS = ["transformer_blocks.1.attn", "single_transformer_blocks.0.attn"]


@pytest.fixture
def make_model():
    """``make_model(**changes)``: a FLUX of 3 blocks at 32x24 pixels, both losses, seeded."""

    def make(**changes):
        torch.manual_seed(0)
        config = dict(
            size=(32, 24),
            backbone=dict(
                type="FluxTransformer2DModel",
                in_channels=112,
                out_channels=48,
                num_layers=2,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=8,
                pooled_projection_dim=8,
                axes_dims_rope=(4, 6, 6),
            ),
            codec=dict(type="SpaceToDepthCodec", factor=2),
            conditioner=dict(
                type="Full3DAttentionConditioner",
                codec_factor=2,
                prompt=dict(type="NullPrompt", dim=8, pooled_dim=8),
            ),
            noise_schedule=dict(type="FlowMatchingSchedule"),
            sampler=dict(type="FlowMatchEulerSampler", num_steps=2),
            attention_losses=dict(
                correspondence=dict(
                    type="CorrespondenceDistillationLoss", layers=LAYERS, t_max=None
                ),
                entropy=dict(type="AttentionEntropyLoss", layers=LAYERS, t_max=None),
            ),
        )
        return TryOnDiffusion(**(config | changes))

    return make


def sample(number: int, matched: bool = True, height: int = 32, width: int = 24) -> dict:
    rng = np.random.default_rng(number)
    mask = np.zeros((height, width), np.uint8)
    mask[8:24, 6:18] = 1
    person, garment, pose = rng.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    points = torch.from_numpy(rng.uniform(0.2, 0.8, (12, 2)).astype(np.float32))
    matches = Correspondences(points, points.flip(0), torch.ones(12))
    flow = torch.rand(height, width, 2, generator=torch.Generator().manual_seed(number))
    iuv, garment_iuv = rng.integers(0, 25, (2, height, width, 3), dtype=np.uint8)
    return dict(
        id=f"p{number}",
        garment_id=f"g{number}",
        category="upper_body",
        index=number,
        position=number,
        person=person,
        garment=garment,
        agnostic=person * (1 - mask[..., None]) + 128 * mask[..., None],
        mask=mask,
        garment_mask=mask,
        worn_mask=mask,
        pose=pose,
        iuv=iuv,
        garment_iuv=garment_iuv,
        correspondences=matches if matched else Correspondences.empty(),
        flow=FlowField(flow, torch.from_numpy(mask > 0)),
    )


@pytest.fixture
def make_batch():
    """``make_batch(model, numbers, unmatched=())``: a preprocessed batch."""

    def make(model, numbers=(0, 1), unmatched=()):
        samples = [sample(n, n not in unmatched) for n in numbers]
        return model.data_preprocessor(collate(samples))

    return make


@pytest.fixture
def make_sample():
    """``make_sample(number)``: one sample, not collated."""
    return sample
