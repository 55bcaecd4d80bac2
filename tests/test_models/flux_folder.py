"""A FLUX.1-Fill of a few thousand parameters, saved in the real folder layout."""

from pathlib import Path

import torch

LATENT_CHANNELS = 4


def save_tiny_flux(folder: Path) -> Path:
    """Write transformer/, vae/, text encoders, tokenizers and scheduler/ below ``folder``."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxPipeline,
        FluxTransformer2DModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(0)
    packed = 4 * LATENT_CHANNELS
    transformer = FluxTransformer2DModel(
        in_channels=2 * packed + 256,
        out_channels=packed,
        num_layers=2,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        axes_dims_rope=(4, 6, 6),
        guidance_embeds=True,
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        scaling_factor=0.36,
        shift_factor=0.11,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    clip, t5 = _tokenizers()
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip),
            hidden_size=20,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            bos_token_id=clip.bos_token_id,
            eos_token_id=clip.eos_token_id,
        )
    )
    text_2 = T5EncoderModel(
        T5Config(vocab_size=len(t5), d_model=24, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=vae,
        text_encoder=text,
        tokenizer=clip,
        text_encoder_2=text_2,
        tokenizer_2=t5,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def _tokenizers():
    from transformers import CLIPTokenizer, T5TokenizerFast

    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    clip = CLIPTokenizer(
        vocab={word: n for n, word in enumerate(words)}, merges=[], model_max_length=77
    )
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    t5 = T5TokenizerFast(vocab=pieces + [(letter, -3.0) for letter in letters], extra_ids=0)
    return clip, t5
