"""The UNet with zero cross-attention of the synthetic benchmark: its base's and its methods'."""

from mmengine.config import read_base

with read_base():
    from .bold import *

read = [f"blocks.{n}.transformer.transformer_blocks.0.attn2" for n in range(4)]  # 16x12, 32x24

model = dict(
    type="TryOnDiffusion",
    size=size,
    backbone=dict(
        type="UNet2DConditionModel",
        in_channels=16,
        out_channels=16,
        block_out_channels=(48, 64, 64),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=4,  # diffusers' name for the number of heads
        norm_num_groups=8,
    ),
    codec=dict(type="LinearCodec", weights="linear_codec"),
    conditioner=dict(
        type="ZeroCrossAttentionConditioner",
        encoder_sees="garment",  # as the paper; the released code's also sees the person
        garment_positions=True,  # by itself so shallow an encoder does not know where it is
        num_heads=2,
        drops=["token"],
        image_encoder=dict(
            type="GarmentTokenEncoder",
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=48,
            patch_size=12,
            projection_dim=32,
        ),
    ),
    noise_schedule=dict(type="DDPMSchedule", network_predicts="clean", loss_on="clean", shift=6.0),
    sampler=dict(type="DDIMSampler", num_steps=1, timestep_spacing="trailing"),
    mask_loss_weight=5.0,
    probe=dict(layers=read, sigma=0.5),
)
