"""Tiny random transformers of diffusers with the inputs of one call: what the table is made of.

``ZOO`` holds, for a class, its configuration and a function that draws inputs; text is padded
where a class takes a mask. From the root of the repository this writes the page of the table:

    PYTHONPATH=. python tests/test_attention/diffusers_zoo.py
"""

import logging
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vtonlab.attention import AttentionRecorder, list_attention_layers
from vtonlab.ops.attention_mask import mask_of_queries
from vtonlab.structures import AttentionRecord

PAGE = Path(__file__).parents[2] / "docs/attention_of_diffusers.md"
TEXT, DIM = 6, 16


def r(*shape):
    return torch.randn(*shape)


def padded(length=TEXT, dtype=torch.bool):
    mask = torch.ones(1, length, dtype=dtype)
    mask[:, length - 2 :] = 0
    return mask


def grid_ids(axes=3, side=4):
    """Positions of side x side tokens."""
    ids = torch.zeros(side, side, axes)
    ids[..., 1], ids[..., 2] = torch.arange(side)[:, None], torch.arange(side)
    return ids.reshape(-1, axes)


T = torch.tensor([0.5])
STEP = torch.tensor([500])
FLOAT_STEP = torch.tensor([500.0])
HEADS = dict(num_attention_heads=2, attention_head_dim=16)
WAN = dict(
    **(HEADS | dict(attention_head_dim=12)),
    **dict(patch_size=(1, 2, 2), in_channels=4, out_channels=4, text_dim=DIM, freq_dim=16),
    **dict(ffn_dim=16, num_layers=2, rope_max_seq_len=32),
)
FLUX = dict(
    **HEADS, num_layers=1, num_single_layers=1, in_channels=16, joint_attention_dim=DIM,
    axes_dims_rope=(4, 4, 8),
)  # fmt: skip
COGVIDEO = dict(
    **dict(num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4),
    **dict(time_embed_dim=2, text_embed_dim=DIM, num_layers=2, sample_width=8, sample_height=8),
    **dict(sample_frames=8, patch_size=2, temporal_compression_ratio=4, max_text_seq_length=TEXT),
)
COGVIEW = dict(
    **dict(num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4),
    **dict(patch_size=2, num_layers=2, text_embed_dim=DIM, time_embed_dim=8, condition_dim=4),
)
SIZES = dict(
    original_size=torch.tensor([[32.0, 32.0]]),
    target_size=torch.tensor([[32.0, 32.0]]),
    crop_coords=torch.tensor([[0.0, 0.0]]),
)
HUNYUAN = dict(
    **(HEADS | dict(attention_head_dim=12)),
    **dict(in_channels=4, out_channels=4, num_layers=1, num_refiner_layers=1, text_embed_dim=DIM),
    **dict(rope_axes_dim=(4, 4, 4)),
)


def flux(**more):
    inputs = dict(hidden_states=r(1, 16, 16), encoder_hidden_states=r(1, TEXT, DIM), timestep=T)
    return inputs | dict(img_ids=grid_ids(), txt_ids=torch.zeros(TEXT, 3)) | more


def video(channels=4, frames=2, **more):
    return dict(
        hidden_states=r(1, channels, frames, 8, 8),
        encoder_hidden_states=r(1, TEXT, DIM),
        timestep=STEP,
    ) | more  # fmt: skip


def picture(channels=4, side=8, **more):
    return dict(
        hidden_states=r(1, channels, side, side),
        encoder_hidden_states=r(1, TEXT, DIM),
        timestep=STEP,
    ) | more  # fmt: skip


BERT = dict(norm_num_groups=4, in_channels=8, cross_attention_dim=DIM)
SANA = dict(
    **HEADS, in_channels=4, out_channels=4, num_layers=1, num_cross_attention_heads=2,
    cross_attention_head_dim=16, cross_attention_dim=32, caption_channels=DIM, sample_size=8,
)  # fmt: skip
ZOO = {
    "AllegroTransformer3DModel": (
        dict(**HEADS, in_channels=4, out_channels=4, num_layers=1, cross_attention_dim=DIM,
             sample_width=8, sample_height=8, sample_frames=2, caption_channels=DIM)
        | dict(attention_head_dim=24, cross_attention_dim=48),
        lambda: video(attention_mask=torch.ones(1, 2, 8, 8), encoder_attention_mask=padded(),
                      image_rotary_emb=None),
    ),
    "AnyFlowTransformer3DModel": (
        WAN,
        lambda: video(hidden_states=r(1, 2, 4, 8, 8), timestep=STEP.expand(1, 2),
                      r_timestep=STEP.expand(1, 2)),
    ),
    "AuraFlowTransformer2DModel": (
        dict(sample_size=8, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
             num_attention_heads=4, joint_attention_dim=DIM, caption_projection_dim=32,
             pos_embed_max_size=64),
        lambda: picture(timestep=T),
    ),
    "BriaFiboTransformer2DModel": (
        dict(FLUX, text_encoder_dim=DIM, axes_dims_rope=[4, 4, 8]),
        lambda: flux(text_encoder_layers=[r(1, TEXT, DIM) for _ in range(2)]),
    ),
    "BriaTransformer2DModel": (dict(FLUX, axes_dims_rope=[4, 4, 8]), flux),
    "ChromaTransformer2DModel": (
        dict(FLUX, approximator_num_channels=8, approximator_hidden_dim=16, approximator_layers=1),
        lambda: flux(attention_mask=torch.cat([padded(), torch.ones(1, 16).bool()], 1)),
    ),
    "ChronoEditTransformer3DModel": (WAN, video),
    "CogVideoXTransformer3DModel": (
        COGVIDEO, lambda: video(hidden_states=r(1, 2, 4, 8, 8)),
    ),
    "CogView3PlusTransformer2DModel": (
        dict(COGVIEW, pos_embed_max_size=8, sample_size=8), lambda: picture(**SIZES),
    ),
    "CogView4Transformer2DModel": (
        dict(COGVIEW, pos_embed_max_size=8, sample_size=8, rope_axes_dim=(8, 8)),
        lambda: picture(**SIZES),
    ),
    "ConsisIDTransformer3DModel": (
        COGVIDEO, lambda: video(hidden_states=r(1, 2, 4, 8, 8)),
    ),
    "CosmosTransformer3DModel": (
        dict(HEADS, in_channels=4, out_channels=4, num_layers=2, text_embed_dim=DIM,
             adaln_lora_dim=4, max_size=(4, 8, 8), concat_padding_mask=True),
        lambda: video(timestep=T, padding_mask=torch.zeros(1, 1, 8, 8), fps=30),
    ),
    "DiTTransformer2DModel": (
        dict(HEADS, num_layers=1, norm_num_groups=4, sample_size=8, num_embeds_ada_norm=10),
        lambda: dict(hidden_states=r(1, 4, 8, 8), timestep=STEP % 10,
                     class_labels=torch.tensor([1])),
    ),
    "EasyAnimateTransformer3DModel": (
        dict(HEADS, in_channels=4, out_channels=4, num_layers=1, mmdit_layers=1, time_embed_dim=8,
             text_embed_dim=DIM, patch_size=2, sample_width=8, sample_height=8),
        lambda: video(),
    ),
    "ErnieImageTransformer2DModel": (
        dict(hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32,
             in_channels=4, out_channels=4, text_in_dim=DIM, rope_axes_dim=(4, 4, 8)),
        lambda: dict(hidden_states=r(2, 4, 4, 4), timestep=STEP.repeat(2),
                     text_bth=r(2, TEXT, DIM), text_lens=torch.tensor([TEXT, 4])),
    ),
    "Flux2Transformer2DModel": (
        dict(FLUX, axes_dims_rope=(4, 4, 4, 4)),
        lambda: flux(img_ids=grid_ids(4), txt_ids=torch.zeros(TEXT, 4), guidance=T),
    ),
    "Flux3Transformer2DModel": (
        dict(FLUX, cond_in_channels=16, axes_dims_rope=(4, 4, 4, 4)),
        lambda: flux(img_ids=grid_ids(4), txt_ids=torch.zeros(TEXT, 4),
                     image_cond_hidden_states=r(1, 16, 16), image_cond_ids=grid_ids(4)),
    ),
    "FluxTransformer2DModel": (
        dict(FLUX, pooled_projection_dim=DIM), lambda: flux(pooled_projections=r(1, DIM)),
    ),
    "GlmImageTransformer2DModel": (
        dict(COGVIEW, prior_vq_quantizer_codebook_size=8),
        lambda: picture(prior_token_id=torch.zeros(1, 16, dtype=torch.long),
                        prior_token_drop=torch.zeros(1, dtype=torch.bool),
                        target_size=SIZES["target_size"], crop_coords=SIZES["crop_coords"]),
    ),
    "HeliosTransformer3DModel": (
        {k: v for k, v in WAN.items() if k != "rope_max_seq_len"} | dict(rope_dim=(4, 4, 4)),
        lambda: video(),
    ),
    "HiDreamImageTransformer2DModel": (
        dict(HEADS, patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1,
             caption_channels=[DIM, DIM], text_emb_dim=DIM, num_routed_experts=2,
             num_activated_experts=1, axes_dims_rope=(4, 4, 8), max_resolution=(16, 16),
             llama_layers=(0, 1), force_inference_output=True),
        lambda: dict(hidden_states=r(1, 4, 8, 8), timesteps=STEP, pooled_embeds=r(1, DIM),
                     encoder_hidden_states_t5=r(1, TEXT, DIM),
                     encoder_hidden_states_llama3=r(2, 1, TEXT, DIM)),
    ),
    "HunyuanDiT2DModel": (
        dict(HEADS, sample_size=8, patch_size=2, in_channels=4, num_layers=2, hidden_size=32,
             cross_attention_dim=DIM, cross_attention_dim_t5=DIM, pooled_projection_dim=DIM,
             text_len=TEXT, text_len_t5=TEXT, use_style_cond_and_image_meta_size=False),
        lambda: picture(timestep=FLOAT_STEP, encoder_hidden_states_t5=r(1, TEXT, DIM),
                        text_embedding_mask=padded(),
                        text_embedding_mask_t5=padded()),
    ),
    "HunyuanImageTransformer2DModel": (
        dict(HUNYUAN, num_single_layers=1, rope_axes_dim=(6, 6)),
        lambda: picture(encoder_attention_mask=padded(), timestep=FLOAT_STEP),
    ),
    "HunyuanVideo15Transformer3DModel": (
        dict(HUNYUAN, in_channels=9, text_embed_2_dim=8, image_embed_dim=DIM, target_size=16),
        lambda: video(9, 1, encoder_attention_mask=padded(), timestep=FLOAT_STEP,
                      encoder_hidden_states_2=r(1, 3, 8),
                      encoder_attention_mask_2=torch.ones(1, 3, dtype=torch.bool),
                      image_embeds=r(1, 2, DIM)),
    ),
    "HunyuanVideoFramepackTransformer3DModel": (
        dict(HUNYUAN, num_single_layers=1, patch_size=2, pooled_projection_dim=8,
             has_image_proj=True, image_proj_dim=DIM, has_clean_x_embedder=True),
        lambda: video(4, 1, encoder_attention_mask=padded(), pooled_projections=r(1, 8),
                      image_embeds=r(1, 2, DIM), indices_latents=torch.zeros(1), guidance=STEP,
                      latents_clean=r(1, 4, 1, 8, 8), indices_latents_clean=torch.zeros(1),
                      latents_history_2x=r(1, 4, 2, 8, 8),
                      indices_latents_history_2x=torch.arange(2),
                      latents_history_4x=r(1, 4, 4, 8, 8),
                      indices_latents_history_4x=torch.arange(4)),
    ),
    "HunyuanVideoTransformer3DModel": (
        dict(HUNYUAN, num_single_layers=1, patch_size=1, pooled_projection_dim=8),
        lambda: video(4, 1, encoder_attention_mask=padded(), pooled_projections=r(1, 8),
                      guidance=STEP),
    ),
    "Ideogram4Transformer2DModel": (
        dict(HEADS, in_channels=4, num_layers=1, intermediate_size=32, adaln_dim=8,
             llm_features_dim=DIM, mrope_section=(4, 2, 2)),
        lambda: dict(hidden_states=r(1, 16 + TEXT, 4), timestep=T,
                     encoder_hidden_states=r(1, 16 + TEXT, DIM),
                     position_ids=torch.zeros(1, 16 + TEXT, 3, dtype=torch.long),
                     segment_ids=torch.zeros(1, 16 + TEXT, dtype=torch.long),
                     indicator=_ideogram_roles()),
    ),
    "JoyImageEditTransformer3DModel": (
        dict(in_channels=4, hidden_size=32, num_attention_heads=2, text_dim=DIM, num_layers=1,
             rope_dim_list=[4, 4, 8]),
        lambda: video(4, 1),
    ),
    "JoyImageEditPlusTransformer3DModel": (
        dict(in_channels=4, hidden_size=32, num_attention_heads=2, text_dim=DIM, num_layers=1,
             rope_dim_list=[4, 4, 8]),
        lambda: dict(hidden_states=r(1, 16, 4, 1, 2, 2), timestep=STEP,
                     encoder_hidden_states=r(1, TEXT, DIM),
                     encoder_hidden_states_mask=padded(), shape_list=[[(1, 4, 4)]]),
    ),
    "Krea2Transformer2DModel": (
        dict(HEADS, in_channels=4, num_layers=1, num_key_value_heads=1, intermediate_size=32,
             timestep_embed_dim=8, text_hidden_dim=DIM, num_text_layers=2,
             text_num_attention_heads=2, text_num_key_value_heads=2, text_intermediate_size=16,
             num_layerwise_text_blocks=1, num_refiner_text_blocks=1, axes_dims_rope=(4, 4, 8)),
        lambda: dict(hidden_states=r(1, 16, 4), encoder_hidden_states=r(1, TEXT, 2, DIM),
                     timestep=T, encoder_attention_mask=padded(),
                     position_ids=torch.cat([torch.zeros(TEXT, 3), grid_ids()])),
    ),
    "LongCatAudioDiTTransformer": (
        dict(dit_dim=32, dit_depth=1, dit_heads=2, dit_text_dim=DIM, latent_dim=4),
        lambda: dict(hidden_states=r(1, 10, 4), encoder_hidden_states=r(1, TEXT, DIM),
                     encoder_attention_mask=padded(), timestep=T, latent_cond=r(1, 10, 4),
                     attention_mask=torch.ones(1, 10, dtype=torch.bool)),
    ),
    "LTX2VideoTransformer3DModel": (
        dict(HEADS, in_channels=4, out_channels=4, cross_attention_dim=32, audio_in_channels=4,
             audio_out_channels=4, audio_num_attention_heads=2, audio_attention_head_dim=8,
             audio_cross_attention_dim=16, num_layers=1, caption_channels=DIM),
        lambda: dict(hidden_states=r(1, 32, 4), audio_hidden_states=r(1, 5, 4),
                     encoder_hidden_states=r(1, TEXT, DIM), timestep=STEP,
                     audio_encoder_hidden_states=r(1, TEXT, DIM),
                     encoder_attention_mask=padded(), audio_encoder_attention_mask=padded(),
                     num_frames=2, height=4, width=4, audio_num_frames=5),
    ),
    "Kandinsky5Transformer3DModel": (
        dict(in_visual_dim=4, in_text_dim=DIM, in_text_dim2=8, time_dim=8, out_visual_dim=4,
             model_dim=32, ff_dim=32, num_text_blocks=1, num_visual_blocks=1, axes_dims=(4, 4, 8)),
        lambda: dict(hidden_states=r(1, 1, 8, 8, 4), encoder_hidden_states=r(1, TEXT, DIM),
                     timestep=STEP, pooled_projections=r(1, 8),
                     visual_rope_pos=[torch.arange(1), torch.arange(4), torch.arange(4)],
                     text_rope_pos=torch.arange(TEXT)),
    ),
    "LTXVideoTransformer3DModel": (
        dict(HEADS, in_channels=4, out_channels=4, cross_attention_dim=32, num_layers=1,
             caption_channels=DIM),
        lambda: dict(hidden_states=r(1, 32, 4), encoder_hidden_states=r(1, TEXT, DIM),
                     timestep=STEP, encoder_attention_mask=padded(), num_frames=2, height=4,
                     width=4),
    ),
    "LatteTransformer3DModel": (
        dict(HEADS, in_channels=4, out_channels=8, num_layers=1, cross_attention_dim=32,
             sample_size=8, patch_size=2, num_embeds_ada_norm=10, norm_type="ada_norm_single",
             norm_elementwise_affine=False, caption_channels=DIM, video_length=2),
        lambda: video(),
    ),
    "LongCatImageTransformer2DModel": (dict(FLUX, axes_dims_rope=[4, 4, 8]), flux),
    "Lumina2Transformer2DModel": (
        dict(sample_size=8, patch_size=2, in_channels=4, hidden_size=32, num_layers=1,
             num_refiner_layers=1, num_attention_heads=2, num_kv_heads=1, multiple_of=2,
             axes_dim_rope=(4, 4, 8), axes_lens=(32, 32, 32), cap_feat_dim=DIM),
        lambda: picture(encoder_attention_mask=padded(), timestep=T),
    ),
    "LuminaNextDiT2DModel": (
        dict(sample_size=8, in_channels=4, hidden_size=32, num_layers=1, num_attention_heads=2,
             num_kv_heads=2, multiple_of=2, cross_attention_dim=DIM),
        lambda: picture(encoder_mask=padded(), timestep=T, image_rotary_emb=_lumina_positions(),
                        cross_attention_kwargs={}),
    ),
    "MochiTransformer3DModel": (
        dict(HEADS, num_layers=2, pooled_projection_dim=8, in_channels=4, text_embed_dim=DIM,
             time_embed_dim=8),
        lambda: dict(video(), encoder_attention_mask=padded()),
    ),
    "MotifVideoTransformer3DModel": (
        dict(HEADS, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1,
             text_embed_dim=DIM, rope_axes_dim=(4, 4, 8)),
        lambda: video(encoder_attention_mask=padded()),
    ),
    "NucleusMoEImageTransformer2DModel": (
        dict(HEADS, in_channels=16, out_channels=4, num_layers=2, joint_attention_dim=DIM,
             axes_dims_rope=(4, 4, 8), moe_enabled=False),
        lambda: dict(hidden_states=r(1, 16, 16), img_shapes=[(1, 4, 4)], timestep=T,
                     encoder_hidden_states=r(1, TEXT, DIM), encoder_hidden_states_mask=padded()),
    ),
    "OmniGenTransformer2DModel": (
        dict(in_channels=4, hidden_size=32, num_attention_heads=2, num_key_value_heads=2,
             intermediate_size=32, num_layers=1, pad_token_id=0, vocab_size=20,
             pos_embed_max_size=16, max_position_embeddings=64,
             original_max_position_embeddings=64, time_step_dim=8,
             rope_scaling=dict(long_factor=[1.0] * 8, short_factor=[1.0] * 8)),
        lambda: dict(hidden_states=r(1, 4, 8, 8), timestep=T,
                     input_ids=torch.ones(1, TEXT, dtype=torch.long), input_img_latents=[],
                     input_image_sizes={},
                     attention_mask=torch.ones(1, TEXT + 17, TEXT + 17, dtype=torch.long),
                     position_ids=torch.arange(TEXT + 17)[None]),
    ),
    "OvisImageTransformer2DModel": (dict(FLUX, out_channels=16), flux),
    "PRXTransformer2DModel": (
        dict(in_channels=4, context_in_dim=DIM, hidden_size=32, num_heads=2, depth=1,
             axes_dim=[8, 8]),
        lambda: picture(timestep=T, attention_mask=padded()),
    ),
    "PixArtTransformer2DModel": (
        dict(HEADS, num_layers=1, cross_attention_dim=32, sample_size=8, caption_channels=DIM,
             use_additional_conditions=False),
        lambda: picture(encoder_attention_mask=padded(),
                        added_cond_kwargs=dict(resolution=None, aspect_ratio=None)),
    ),
    "PriorTransformer": (
        dict(HEADS, num_layers=1, embedding_dim=DIM, num_embeddings=TEXT),
        lambda: dict(hidden_states=r(1, DIM), timestep=STEP, proj_embedding=r(1, DIM),
                     encoder_hidden_states=r(1, TEXT, DIM)),
    ),
    "QwenImageTransformer2DModel": (
        dict(HEADS, in_channels=16, out_channels=4, num_layers=2, joint_attention_dim=DIM,
             axes_dims_rope=(4, 4, 8)),
        lambda: dict(hidden_states=r(1, 16, 16), encoder_hidden_states=r(1, TEXT, DIM),
                     encoder_hidden_states_mask=padded(), timestep=T, img_shapes=[[(1, 4, 4)]]),
    ),
    "SD3Transformer2DModel": (
        dict(HEADS, sample_size=8, in_channels=4, num_layers=2, joint_attention_dim=DIM,
             caption_projection_dim=32, pooled_projection_dim=DIM, out_channels=4,
             pos_embed_max_size=8, dual_attention_layers=(0,), qk_norm="rms_norm"),
        lambda: picture(pooled_projections=r(1, DIM)),
    ),
    "SanaTransformer2DModel": (SANA, lambda: picture(encoder_attention_mask=padded())),
    "SanaVideoTransformer3DModel": (
        dict(SANA, attention_head_dim=12, cross_attention_head_dim=12, cross_attention_dim=24),
        lambda: video(encoder_attention_mask=padded()),
    ),
    "SkyReelsV2Transformer3DModel": (WAN, video),
    "StableAudioDiTModel": (
        dict(sample_size=8, in_channels=4, num_layers=2, attention_head_dim=8,
             num_attention_heads=4, num_key_value_attention_heads=2, out_channels=4,
             cross_attention_dim=DIM, time_proj_dim=8, global_states_input_dim=8,
             cross_attention_input_dim=DIM),
        lambda: dict(hidden_states=r(1, 4, 8), timestep=STEP, global_hidden_states=r(1, 1, 8),
                     encoder_hidden_states=r(1, TEXT, DIM),
                     rotary_embedding=(r(9, 4), r(9, 4))),
    ),
    "Transformer2DModel": (
        dict(HEADS, **BERT), lambda: picture(8, encoder_attention_mask=padded()),
    ),
    "TransformerTemporalModel": (
        dict(HEADS, norm_num_groups=4, in_channels=8), lambda: dict(hidden_states=r(2, 8, 4, 4),
                                                                    num_frames=2),
    ),
    "WanTransformer3DModel": (WAN, video),
    "WanVACETransformer3DModel": (
        dict(WAN, vace_layers=[0], vace_in_channels=8),
        lambda: video(control_hidden_states=r(1, 8, 2, 8, 8)),
    ),
    "ZImageTransformer2DModel": (
        dict(in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
             cap_feat_dim=DIM, axes_dims=[4, 4, 8], axes_lens=[64, 32, 32]),
        lambda: dict(x=[r(4, 1, 8, 8)], t=T, cap_feats=[r(TEXT, DIM)]),
    ),
}  # fmt: skip


def _lumina_positions():
    from diffusers.models.embeddings import get_2d_rotary_pos_embed_lumina

    return get_2d_rotary_pos_embed_lumina(16, 8, 8)


def _ideogram_roles():
    from diffusers.models.transformers import transformer_ideogram4 as module

    roles = [module.LLM_TOKEN_INDICATOR] * TEXT + [module.OUTPUT_IMAGE_INDICATOR] * 16
    return torch.tensor([roles])


def build(name):
    """A tiny model of the class, and the keyword arguments of one call."""
    import diffusers

    torch.manual_seed(0)
    config, inputs = ZOO[name]
    model = getattr(diffusers, name)(**config).eval()
    with torch.no_grad():  # what starts at zero (gates, last layers) hides attention
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model, inputs()


class Seen(NamedTuple):
    """What a recorder sees of one class."""

    layers: int
    seen: int
    masked: int
    unseen: tuple[str, ...]  # reasons
    is_equal: bool  # output with and without recorder, to the bit
    without_gradient: tuple[str, ...]  # layers whose query projection an entropy does not reach

    def row(self, name: str) -> str:
        """Its line of the table."""
        note = "; ".join(self.unseen) or ("" if not self.masked else f"masked in {self.masked}")
        return f"| `{name}` | {self.seen} of {self.layers} | {note} |"


def look(name: str) -> Seen:
    """Record every layer of a class that nothing speaks against, in one call."""
    model, inputs = build(name)
    listed = list_attention_layers(model)
    open_to_us = [layer.name for layer in listed if not layer.unseen]
    with torch.no_grad():
        plain = _first(model(**inputs, return_dict=False))
    with AttentionRecorder(model, layers=open_to_us, to_record=_to_record) as recorder:
        output = _first(model(**inputs, return_dict=False))
    blind = []
    for record in recorder.records:
        owner = model.get_submodule(record.name)
        queries = [p for n, p in owner.named_parameters() if "q" in n.partition(".")[0]]
        found = torch.autograd.grad(
            record.entropy().sum(), queries, retain_graph=True, allow_unused=True
        )
        if not any(grad is not None and grad.any() for grad in found):
            blind.append(record.name)
    return Seen(
        layers=len(listed),
        seen=len(recorder.records),
        masked=sum(record.key_mask is not None for record in recorder.records),
        unseen=tuple(sorted({layer.unseen for layer in listed if layer.unseen})),
        is_equal=torch.equal(plain, output.detach()),
        without_gradient=tuple(blind),
    )


def _to_record(name, query, key, scale, mask=None) -> AttentionRecord:
    """Of the queries that agree with the last one on a mask (the image's, or the first text's)."""
    if mask is not None and mask.ndim == 3:
        place = 0 if not mask[:, -1].any() or name.startswith("context_embedder") else -1
        agree = (mask == mask[:, place][:, None]).all(-1).all(0).nonzero()[:, 0]
        query, mask = query[:, :, agree], mask_of_queries(mask, agree)
    grids = dict(query_grid=(1, query.shape[2]), key_grid=(1, key.shape[2]))
    return AttentionRecord(name=name, query=query, key=key, scale=scale, key_mask=mask, **grids)


def _first(output) -> Tensor:
    while isinstance(output, (tuple, list)):
        output = output[0]
    return output


HEAD = """# Which attention of diffusers' transformers can be supervised

Every transformer class of diffusers below was built tiny, with random weights and padded text where
it takes a mask, and all its layers recorded at once: layers seen of layers there are, and the
reason where one is not. The output is the same to the bit with and without the recorder, and the
gradient of an entropy reaches the query projection of each layer that is seen. This page is written
by `tests/test_attention/diffusers_zoo.py`, and a test keeps it true.

Two limits. Mochi calls attention once for each sample, so it can be recorded in batches of one
alone. And attention that does not end in torch's `scaled_dot_product_attention` cannot be seen:
AnyFlow-FAR's flex attention is refused by name, as every other backend of diffusers.

| class | layers seen | |
|---|---|---|
"""


def page() -> str:
    """The whole page, of the installed diffusers."""
    import diffusers

    names = [name for name in sorted(ZOO) if hasattr(diffusers, name)]
    return HEAD + "\n".join(look(name).row(name) for name in names) + "\n"


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    PAGE.write_text(page())
