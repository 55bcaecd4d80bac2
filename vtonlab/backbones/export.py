"""A trained backbone as diffusers takes it: a LoRA file, or a folder of weights."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

# The pipeline of diffusers whose `load_lora_weights` reads the adapter of a backbone.
PIPELINES = {
    "FluxTransformer2DModel": "FluxPipeline",
    "Flux2Transformer2DModel": "Flux2KleinPipeline",
    "SD3Transformer2DModel": "StableDiffusion3Pipeline",
}
LORA_FILE = "pytorch_lora_weights.safetensors"


def export_backbone(
    backbone: nn.Module, directory: str | Path, state: Mapping[str, Tensor] | None = None
) -> Path:
    """Write ``backbone`` for plain diffusers and return what was written.

    A backbone with a peft adapter becomes ``pytorch_lora_weights.safetensors`` (read by
    ``pipe.load_lora_weights(directory)``), any other a folder ``transformer/``, ``unet/``
    or ``vae/`` (read by ``from_pretrained``).

    Args:
        state: parameters to write instead of the backbone's own, such as averaged ones.

    Raises:
        ValueError: an adapter on a backbone whose pipeline is not known here.
    """
    own = {
        name: value.clone()
        for name, value in backbone.state_dict().items()
        if name in (state or ())
    }
    backbone.load_state_dict(dict(state or {}), strict=False)
    try:
        if getattr(backbone, "peft_config", None):
            return _save_lora(backbone, Path(directory))
        folder = Path(directory) / _folder_of(type(backbone).__name__)
        backbone.save_pretrained(folder)
        return folder
    finally:
        backbone.load_state_dict(own, strict=False)


def _folder_of(name: str) -> str:
    if "Autoencoder" in name:
        return "vae"
    return "unet" if "UNet" in name else "transformer"


def _save_lora(backbone: nn.Module, directory: Path) -> Path:
    import diffusers
    from peft import get_peft_model_state_dict

    name = type(backbone).__name__
    if name not in PIPELINES:
        raise ValueError(f"no diffusers pipeline is known for a LoRA of {name}: {list(PIPELINES)}")
    pipeline = getattr(diffusers, PIPELINES[name])
    adapter = backbone.peft_config["default"].to_dict()
    pipeline.save_lora_weights(
        directory,
        transformer_lora_layers=get_peft_model_state_dict(backbone),
        transformer_lora_adapter_metadata=adapter,
        weight_name=LORA_FILE,
    )
    return directory / LORA_FILE
