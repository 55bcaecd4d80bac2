"""Shapes of published networks, known without their files."""

from collections.abc import Mapping
from pathlib import Path

from vtonlab.utils.bounded import read_json

_VAE = dict(
    block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=2,
    latent_channels=16,
    use_quant_conv=False,
    use_post_quant_conv=False,
)
_SD1_VAE = dict(_VAE, latent_channels=4, use_quant_conv=True, use_post_quant_conv=True)
_SD1_INPAINTING = dict(in_channels=9, sample_size=64, cross_attention_dim=768)  # diffusers' rest
PUBLISHED: dict[tuple[str, str], dict] = {
    ("black-forest-labs/FLUX.1-Fill-dev", "transformer"): dict(
        in_channels=384, out_channels=64, guidance_embeds=True
    ),
    ("black-forest-labs/FLUX.1-Fill-dev", "vae"): _VAE,
    ("black-forest-labs/FLUX.1-Kontext-dev", "transformer"): dict(
        in_channels=64, guidance_embeds=True
    ),
    ("black-forest-labs/FLUX.1-Kontext-dev", "vae"): _VAE,
    ("black-forest-labs/FLUX.2-klein-base-4B", "transformer"): dict(
        num_layers=5,
        num_single_layers=20,
        num_attention_heads=24,
        joint_attention_dim=7680,
        guidance_embeds=False,
    ),
    ("black-forest-labs/FLUX.2-klein-base-4B", "vae"): dict(latent_channels=32),
    ("Qwen/Qwen-Image-Edit-2509", "transformer"): dict(out_channels=16),  # 60 blocks of 3072
    ("Qwen/Qwen-Image-Edit-2509", "vae"): {},
    ("stabilityai/stable-diffusion-3.5-medium", "transformer"): dict(
        sample_size=128,
        num_layers=24,
        num_attention_heads=24,
        attention_head_dim=64,
        caption_projection_dim=1536,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
    ),
    ("stabilityai/stable-diffusion-3.5-medium", "vae"): _VAE,
    ("stable-diffusion-v1-5/stable-diffusion-inpainting", "unet"): _SD1_INPAINTING,
    ("stable-diffusion-v1-5/stable-diffusion-inpainting", "vae"): _SD1_VAE,
    ("Fantasy-Studio/Paint-by-Example", "unet"): _SD1_INPAINTING,
    ("Fantasy-Studio/Paint-by-Example", "vae"): _SD1_VAE,
}


def shapes_of(settings: Mapping) -> dict:
    """Arguments of the network that ``dict(type="from_pretrained", ...)`` would load.

    Raises:
        ValueError: neither a local folder nor one of ``PUBLISHED``.
    """
    path, part = str(settings["path"]), settings.get("subfolder") or ""
    file = Path(path) / part / "config.json"
    if file.is_file():
        return read_json(file)
    if (path, part) in PUBLISHED:
        return PUBLISHED[path, part]
    known = ", ".join(sorted({name for name, _ in PUBLISHED}))
    raise ValueError(
        f"the shapes of {path!r} ({part}) are not known without its files: set `pretrained` to a "
        f"local folder, or to one of {known}"
    )
