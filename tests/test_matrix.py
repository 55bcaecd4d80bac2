"""Any attention loss, any conditioner, any backbone: the table, and every cell of it trains.

A row is a backbone with its conditioner and the layers to supervise; a column is a loss. A cell
that cannot be has one line in ``IMPOSSIBLE`` that says why. New conditioners add a row.
"""

import pytest
import torch
from torch import nn

from vtonlab.attention import AttentionRecorder
from vtonlab.conditioners.base import Conditioner, Prediction
from vtonlab.models import TryOnDiffusion, TryOnWarping
from vtonlab.registry import CONDITIONERS
from vtonlab.structures import AttentionRecord, Correspondences, FlowField

SIZE = (32, 24)
HEADS, HEAD_SIZE = 2, 16


@CONDITIONERS.register_module()
class GarmentTokensConditioner(Conditioner):
    """The least a cross-attention conditioner does: garment patches as the backbone's context."""

    def __init__(self, *, channels: int, dim: int, patch: int = 2) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, dim, patch, stride=patch)

    def target(self, batch, encode):
        return encode(batch["person"])

    def prepare(self, batch, encode):
        return {"garment": encode(batch["garment"])}

    def forward(self, backbone, noisy, sigmas, conditions, layers=()):
        tokens = self.project(conditions["garment"])  # (B, dim, h, w)
        key_grid = tuple(tokens.shape[-2:])
        height, width = noisy.shape[-2:]

        def to_record(name, query, key, scale):
            factor = round((height * width / query.shape[2]) ** 0.5)
            return AttentionRecord(
                name=name, query=query, key=key, scale=scale, key_grid=key_grid,
                query_grid=(height // factor, width // factor),
            )  # fmt: skip

        with AttentionRecorder(backbone, layers=layers, to_record=to_record) as recorder:
            context = tokens.flatten(2).mT
            sample = backbone(noisy, sigmas * 1000.0, encoder_hidden_states=context).sample
        return Prediction(sample, recorder.records)


def full_3d(dim):
    prompt = {"type": "NullPrompt", "num_tokens": 3, "dim": dim, "pooled_dim": 8}
    return {"type": "Full3DAttentionConditioner", "codec_factor": 2, "prompt": prompt}


FLUX = {
    "type": "FluxTransformer2DModel",
    "in_channels": 112,
    "out_channels": 48,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": HEAD_SIZE,
    "num_attention_heads": HEADS,
    "joint_attention_dim": 8,
    "pooled_projection_dim": 8,
    "axes_dims_rope": (4, 6, 6),
}
FLUX2 = {
    "type": "Flux2Transformer2DModel",
    "in_channels": 48,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": HEAD_SIZE,
    "num_attention_heads": HEADS,
    "joint_attention_dim": 8,
    "axes_dims_rope": (4, 4, 4, 4),
    "guidance_embeds": False,
}
REFERENCES = {
    "type": "ReferenceTokensConditioner",
    "prompt": {"type": "NullPrompt", "num_tokens": 3, "dim": 8, "pooled_dim": 0},
}
SD3 = {
    "type": "SD3Transformer2DModel",
    "sample_size": 64,
    "patch_size": 2,
    "in_channels": 28,
    "out_channels": 12,
    "num_layers": 3,
    "attention_head_dim": HEAD_SIZE,
    "num_attention_heads": HEADS,
    "joint_attention_dim": 8,
    "caption_projection_dim": HEADS * HEAD_SIZE,
    "pooled_projection_dim": 8,
    "pos_embed_max_size": 64,
    "qk_norm": "rms_norm",
}
UNET = {
    "type": "UNet2DConditionModel",
    "in_channels": 12,
    "out_channels": 12,
    "block_out_channels": (32, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": HEADS,  # diffusers' name for the number of heads
    "norm_num_groups": 8,
}
UNET_CONDITIONER = {"type": "GarmentTokensConditioner", "channels": 12, "dim": 16}
TOKEN_ENCODER = {
    "type": "GarmentTokenEncoder",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 24,
    "patch_size": 12,
    "projection_dim": 16,
}
SELF_ATTENTION = [
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1",
    "mid_block.attentions.0.transformer_blocks.0.attn1",
]
OUTPUT = ["norm_out.", "proj_out."]
# row: backbone, conditioner, supervised layers, parameters of what runs after the last of them
ROWS = {
    "full 3D attention, FLUX double blocks": (
        FLUX, full_3d(8), ["transformer_blocks.0.attn", "transformer_blocks.1.attn"],
        ["single_transformer_blocks.", *OUTPUT],
    ),
    "full 3D attention, FLUX single blocks": (
        FLUX, full_3d(8), ["single_transformer_blocks.0.attn"],
        ["single_transformer_blocks.1.", *OUTPUT],
    ),
    "reference tokens, FLUX.2 double blocks": (
        FLUX2, REFERENCES, ["transformer_blocks.0.attn", "transformer_blocks.1.attn"],
        ["single_transformer_blocks.", "single_stream_modulation.", *OUTPUT],
    ),
    "reference tokens, FLUX.2 single blocks": (
        FLUX2, REFERENCES, ["single_transformer_blocks.0.attn"],
        ["single_transformer_blocks.1.", *OUTPUT],
    ),
    "full 3D attention, SD3": (
        SD3, full_3d(8), ["transformer_blocks.0.attn", "transformer_blocks.1.attn"],
        ["transformer_blocks.2.", *OUTPUT],
    ),
    "cross-attention, UNet": (
        UNET, UNET_CONDITIONER,
        ["down_blocks.1.attentions.0.transformer_blocks.0.attn2",
         "mid_block.attentions.0.transformer_blocks.0.attn2"],
        ["up_blocks.", "conv_norm_out.", "conv_out."],
    ),
    "spatial concatenation, two UNets": (
        UNET, {"type": "SpatialConcatConditioner", "reference": "unet"}, SELF_ATTENTION,
        ["up_blocks.", "conv_norm_out.", "conv_out."],
    ),
    "spatial concatenation, one UNet": (
        UNET, {"type": "SpatialConcatConditioner", "reference": "self"}, SELF_ATTENTION,
        ["up_blocks.", "conv_norm_out.", "conv_out."],
    ),
    "zero cross-attention, UNet": (
        UNET,
        {"type": "ZeroCrossAttentionConditioner", "image_encoder": TOKEN_ENCODER,
         "num_heads": HEADS},
        [f"blocks.{n}.transformer.transformer_blocks.0.attn2" for n in (0, 1)],
        ["up_blocks.1.resnets.1.", "up_blocks.1.attentions.1.", "conv_norm_out.", "conv_out.",
         "blocks.1.zero_conv.", "blocks.1.transformer.proj_out."],
    ),
    "global correlation, two encoders": (  # its system has no conditioner
        {"type": "CorrespondenceNetwork", "widths": (8, 8, 16), "dim": HEAD_SIZE, "stem_stride": 1,
         "temperature": 1.0},  # 0.01 is too steep for steps of a fixed length
        None, ["correlation"],
        ["person_encoder.up", "garment_encoder.up", "person_heads.1.", "garment_heads.2.",
         "scales."],
    ),
}  # fmt: skip
COLUMNS = {
    "soft-argmax regression": {"type": "CorrespondenceDistillationLoss"},
    "cross-entropy": {"type": "CorrespondenceDistillationLoss", "form": "cross_entropy"},
    "entropy": {"type": "AttentionEntropyLoss"},
    "per-head entropy": {"type": "AttentionEntropyLoss", "head_reduction": "none"},
    "keypoints": {"type": "KeypointAttentionLoss"},
    "flow": {"type": "AttentionFlowLoss"},
    "flow with sinks": {"type": "AttentionFlowLoss", "num_sinks": 2},
    "total variation": {"type": "AttentionTVLoss"},
    "correlation": {"type": "CorrelationRegularizationLoss"},
}
IMPOSSIBLE: dict[tuple[str, str], str] = {}  # (row, column): why


def build(row, column):
    backbone, conditioner, layers, _ = ROWS[row]
    loss = COLUMNS[column] | {"layers": layers, "t_max": None}
    if "num_sinks" in loss:
        heads = HEADS if conditioner is not None else 1
        loss["sink_dims"] = {name: (heads, HEAD_SIZE) for name in layers}
    torch.manual_seed(0)
    if conditioner is None:
        return TryOnWarping(
            size=SIZE,
            network=backbone,
            refinement={"type": "FlowRefinement", "dim": HEAD_SIZE, "hidden": 8, "motion": 8},
            attention_losses={"attention": loss},
        )
    return TryOnDiffusion(
        size=SIZE,
        backbone=backbone,
        codec={"type": "SpaceToDepthCodec", "factor": 2},
        conditioner=conditioner,
        noise_schedule={"type": "FlowMatchingSchedule"},
        sampler={"type": "FlowMatchEulerSampler", "num_steps": 2},
        attention_losses={"attention": loss},
    )


@pytest.fixture(scope="module")
def batch():
    """Two fixed samples, preprocessed; the second has neither matches nor visible garment."""
    generator = torch.Generator().manual_seed(0)
    height, width = SIZE
    mask = torch.zeros(2, 1, height, width)
    mask[0, :, 6:26, 4:20] = 1
    person, garment, pose = torch.rand(3, 2, 3, height, width, generator=generator) * 2 - 1
    rows, columns = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    flow = FlowField(torch.stack([1 - columns, rows], -1), mask[0, 0] > 0)  # mirrored garment
    nothing = FlowField(flow.flow, torch.zeros(height, width, dtype=torch.bool))
    return {
        "person": person, "garment": garment, "pose": pose, "agnostic": person * (1 - mask),
        "mask": mask, "worn_mask": mask, "garment_mask": torch.ones_like(mask),
        "category": ["upper_body"] * 2, "position": torch.tensor([0, 1]),
        "correspondences": [flow.to_correspondences(stride=2), Correspondences.empty()],
        "flow": [flow, nothing],
        "iuv": person * 127, "garment_iuv": garment * 127,
    }  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", ROWS)
def test_cell(row, column, batch):
    """Two steps lower the loss; its gradient reaches what it should and nothing that runs later."""
    if (row, column) in IMPOSSIBLE:
        pytest.skip(IMPOSSIBLE[row, column])
    model = build(row, column)
    values = []
    for step in range(3):
        model.zero_grad()
        result = model.loss(batch, step)
        values.append(result["loss_attention"].item())
        result["loss_attention"].backward()
        if step == 0:
            check_gradients(model, row)
        descend(model, length=0.002 if ROWS[row][1] is None else 0.02)
    assert values[2] < values[1] < values[0]
    assert 0 < result["attention_garment_mass"] <= 1


def descend(model, length):
    """One step down the gradient, of a length that does not depend on the loss's scale."""
    trained = [p for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in trained])
    with torch.no_grad():
        for parameter in trained:
            parameter -= parameter.grad * (length / norm)


def check_gradients(model, row):
    _, conditioner, layers, silent = ROWS[row]
    warps = conditioner is None
    parts = ("network", "refinement") if warps else ("backbone", "conditioner")  # may have layers
    gradients = {
        name.removeprefix("cross."): p.grad
        for part in parts
        for name, p in getattr(model, part).named_parameters()
    }
    for layer in layers:
        fused = f"{layer}.to_qkv_mlp_proj.weight" in gradients  # FLUX.2's single blocks
        projections = [
            f"{layer}.{n}" for n in (("to_qkv_mlp_proj",) if fused else ("to_q", "to_k"))
        ]
        for projection in ("person_heads.0", "garment_heads.0") if warps else projections:
            gradient = gradients[f"{projection}.weight"]
            assert gradient is not None, projection
            assert gradient.abs().max() > 0, projection
    later = {n: g for n, g in gradients.items() if n.startswith(tuple(silent))}
    assert later
    assert [n for n, g in later.items() if g is not None and g.abs().max() > 0] == []
    finite = [g.isfinite().all() for g in gradients.values() if g is not None]
    assert all(finite)
    assert all(p.grad is not None for p in model.attention_losses.parameters())
