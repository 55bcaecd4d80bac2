"""Tiny random diffusers backbones with the inputs of one call, and a plain stand-in record."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

TEXT = 6  # text tokens of the joint transformers
IMAGE = 24  # image tokens of FLUX; SD3 has 16, the UNets 64 and 16


class Case(NamedTuple):
    """A backbone, the keyword arguments of one call and a pattern for its attention layers."""

    backbone: nn.Module
    inputs: dict[str, Any]

    def run(self) -> Tensor:
        return self.backbone(**self.inputs, return_dict=False)[0]

    def to(self, dtype: torch.dtype) -> "Case":
        inputs = {
            key: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
            for key, value in self.inputs.items()
        }
        return Case(self.backbone.to(dtype), inputs)


class Record(NamedTuple):
    """What the recorder hands over, as it is."""

    name: str
    query: Tensor
    key: Tensor
    scale: float


def make_flux() -> Case:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    flux = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    inputs = dict(
        hidden_states=torch.randn(2, IMAGE, 16),
        encoder_hidden_states=torch.randn(2, TEXT, 32),
        pooled_projections=torch.randn(2, 32),
        timestep=torch.tensor([0.3, 0.7]),
        img_ids=torch.stack([torch.zeros(4, 6), rows, columns], -1).reshape(-1, 3),
        txt_ids=torch.zeros(TEXT, 3),
    )
    return Case(flux, inputs)


def make_sd3() -> Case:
    from diffusers import SD3Transformer2DModel

    torch.manual_seed(0)
    sd3 = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    inputs = dict(
        hidden_states=torch.randn(2, 4, 8, 8),
        encoder_hidden_states=torch.randn(2, TEXT, 32),
        pooled_projections=torch.randn(2, 32),
        timestep=torch.tensor([300.0, 700.0]),
    )
    return Case(sd3, inputs)


def make_unet() -> Case:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    inputs = dict(
        sample=torch.randn(2, 4, 8, 8),
        timestep=torch.tensor([300, 700]),
        encoder_hidden_states=torch.randn(2, 5, 12),
    )
    return Case(unet, inputs)


MAKERS = {"flux": make_flux, "sd3": make_sd3, "unet": make_unet}


@pytest.fixture
def make_case():
    """``make_case("flux" | "sd3" | "unet", dtype=...)``: the same weights and inputs every time."""

    def make(kind: str, dtype: torch.dtype = torch.float32) -> Case:
        return MAKERS[kind]().to(dtype)

    return make


@pytest.fixture
def to_record():
    """A ``to_record`` that keeps everything."""
    return Record
