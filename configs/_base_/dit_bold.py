"""The joint DiT of the synthetic benchmark: what its base and every method on it share."""

from mmengine.config import read_base

with read_base():
    from .bold import *

model = dict(
    type="TryOnDiffusion",
    size=size,
    backbone=dict(
        type="FluxTransformer2DModel",
        in_channels=192,  # packed: 64 noisy + 64 canvas + 64 mask
        out_channels=64,
        num_layers=1,
        num_single_layers=4,  # a single block has 0.4 of a double one's weights at the same work
        num_attention_heads=4,
        attention_head_dim=32,
        axes_dims_rope=(4, 14, 14),
        joint_attention_dim=16,
        pooled_projection_dim=16,
    ),
    codec=dict(type="LinearCodec", weights="linear_codec"),
    conditioner=dict(
        type="Full3DAttentionConditioner",
        codec_factor=4,
        prompt=dict(type="NullPrompt", dim=16, pooled_dim=16),
    ),
    noise_schedule=dict(
        type="FlowMatchingSchedule",
        shift=6.0,  # a small picture is decided at high noise
        network_predicts="clean",  # width 128 cannot carry 64 channels of noise besides the picture
        min_sigma=0.4,
    ),
    sampler=dict(type="FlowMatchEulerSampler", num_steps=1, shift=6.0),
    mask_loss_weight=5.0,
    probe=dict(layers=["*"], sigma=0.5),  # all blocks
)
