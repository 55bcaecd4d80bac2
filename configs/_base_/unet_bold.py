"""The reference UNet of the synthetic benchmark: what its base and every method on it share.

Attention reads the garment where the picture is finest, 4x4 pixels a place: a print is copied place
by place, not found again within tokens of 8x8 pixels.
"""

from mmengine.config import read_base

with read_base():
    from .bold import *

read = [f"up_blocks.2.attentions.{n}.transformer_blocks.0.attn1" for n in range(2)]  # 32x24

model = dict(
    type="TryOnDiffusion",
    size=size,
    backbone=dict(
        type="UNet2DConditionModel",
        in_channels=16,  # the conditioner adds its own
        out_channels=16,
        block_out_channels=(32, 64, 56),
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type=None,
        up_block_types=("UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,  # diffusers' name for the number of heads
        cross_attention_dim=8,  # text is taken out
        norm_num_groups=8,
    ),
    codec=dict(type="LinearCodec", weights="linear_codec"),
    conditioner=dict(
        type="SpatialConcatConditioner", reference="unet", inputs=["mask", "agnostic", "pose"]
    ),
    noise_schedule=dict(type="DDPMSchedule", network_predicts="clean", loss_on="clean", shift=6.0),
    sampler=dict(type="DDIMSampler", num_steps=1, timestep_spacing="trailing"),
    mask_loss_weight=5.0,
    probe=dict(layers=read, sigma=0.5),
)
