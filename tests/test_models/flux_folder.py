"""FLUX.1-Fill, SD3.5, FLUX.2 klein and Qwen-Image-Edit of a few thousand parameters, saved in the
real folder layout.
"""

from pathlib import Path

import torch

LATENT_CHANNELS = 4


def save_tiny_kontext(folder: Path) -> Path:
    """As :func:`save_tiny_flux`, with a transformer that takes latents alone."""
    return save_tiny_flux(folder, more_channels=0)


def save_tiny_flux(folder: Path, more_channels: int = 4 * LATENT_CHANNELS + 256) -> Path:
    """Write transformer/, vae/, text encoders, tokenizers and scheduler/ below ``folder``."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        FluxPipeline,
        FluxTransformer2DModel,
    )
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    packed = 4 * LATENT_CHANNELS
    transformer = FluxTransformer2DModel(
        in_channels=packed + more_channels,
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
    clip, t5 = _tokenizers()
    text = CLIPTextModel(_clip_config(clip))
    text_2 = _tiny_t5(t5)
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=_tiny_vae(),
        text_encoder=text,
        tokenizer=clip,
        text_encoder_2=text_2,
        tokenizer_2=t5,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def save_tiny_sd3(folder: Path) -> Path:
    """Write transformer/, vae/, three text encoders, tokenizers and scheduler/."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        caption_projection_dim=32,
        pooled_projection_dim=24,
        pos_embed_max_size=32,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    clip, t5 = _tokenizers()
    StableDiffusion3Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_tiny_vae(),
        text_encoder=CLIPTextModelWithProjection(_clip_config(clip, projection_dim=12)),
        tokenizer=clip,
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(clip, projection_dim=12)),
        tokenizer_2=clip,
        text_encoder_3=_tiny_t5(t5, width=48),
        tokenizer_3=t5,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def save_tiny_klein(folder: Path) -> Path:
    """FLUX.2 klein's parts: one text encoder, whose layers 9, 18 and 27 are read."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    tokenizer = _qwen_tokenizer()
    text = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=27,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
    )
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=_tiny_flux2_vae(),
        text_encoder=Qwen3ForCausalLM(text),
        tokenizer=tokenizer,
        transformer=Flux2Transformer2DModel(
            in_channels=4 * LATENT_CHANNELS,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
    ).save_pretrained(folder)
    return folder


def save_tiny_qwen_edit(folder: Path) -> Path:
    """Qwen-Image-Edit-Plus's parts: the text encoder sees pictures too."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageEditPlusPipeline,
        QwenImageTransformer2DModel,
    )

    torch.manual_seed(0)
    text, processor = tiny_qwen_vl()
    QwenImageEditPlusPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=1.0),
        vae=AutoencoderKLQwenImage(
            base_dim=4,
            z_dim=LATENT_CHANNELS,
            num_res_blocks=1,
            latents_mean=[0.3, -0.2, 0.1, 0.5],
            latents_std=[1.5, 0.7, 2.0, 1.1],
        ),
        text_encoder=text,
        tokenizer=processor.tokenizer,
        processor=processor,
        transformer=QwenImageTransformer2DModel(
            in_channels=4 * LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 6, 6),
        ),
    ).save_pretrained(folder)
    return folder


def tiny_qwen_vl():
    """Qwen2.5-VL of one layer with its processor."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    marks = [f"<|{n}|>" for n in ("vision_start", "vision_end", "image_pad", "video_pad")]
    tokenizer = _qwen_tokenizer(marks)
    names = ("vision_start", "vision_end", "image", "video")
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(marks), strict=True))
    config = Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            bos_token_id=None,
            eos_token_id=None,
            rope_parameters=dict(rope_type="default", mrope_section=[1, 1, 2], rope_theta=1e4),
        ),
        vision_config=dict(
            depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=16
        ),
        **{f"{name}_token_id": number for name, number in ids.items()},
    )
    torch.manual_seed(2)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
    )
    return model, processor


def _tiny_flux2_vae():
    """Its batch norm holds the statistics of latents, here drawn: no mean 0, no deviation 1."""
    from diffusers import AutoencoderKLFlux2

    vae = AutoencoderKLFlux2(
        block_out_channels=(4, 4, 4, 4),
        norm_num_groups=2,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
    )
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2.0)
    return vae


def _qwen_tokenizer(more: list[str] = ()):
    """Bytes alone, the two marks of a chat, and ``more``."""
    from transformers import Qwen2TokenizerFast

    letters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *more]
    tokenizer = Qwen2TokenizerFast(
        vocab={word: n for n, word in enumerate(letters + marks)}, merges=[]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": marks[1:]})
    tokenizer.pad_token = marks[0]
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n"
    )
    return tokenizer


def _tiny_vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL(
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


def _clip_config(tokenizer, **changes):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=20,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **changes,
    )


def _tiny_t5(tokenizer, width: int = 24):
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=24, num_layers=1, num_heads=2
        )
    )


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
