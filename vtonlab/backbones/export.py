"""A trained backbone as diffusers takes it: a LoRA file, or a folder of weights."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from vtonlab.backbones.pretrained import DTYPES
from vtonlab.registry import FAMILIES

LORA_FILE = "pytorch_lora_weights.safetensors"
WEIGHTS_FILES = "diffusion_pytorch_model{suffix}.safetensors"  # diffusers' own names


def export_backbone(
    backbone: nn.Module,
    directory: str | Path,
    state: Mapping[str, Tensor] | None = None,
    *,
    max_shard_size: str | int = "10GB",
    dtype: str | None = None,
) -> Path:
    """Write ``backbone`` for plain diffusers and return what was written.

    A backbone with a peft adapter becomes ``pytorch_lora_weights.safetensors`` (read by
    ``pipe.load_lora_weights(directory)``), any other a folder ``transformer/``, ``unet/``
    or ``vae/`` (read by ``from_pretrained``): ``config.json`` and safetensors files, several with
    an index where one would grow above ``max_shard_size``.

    Args:
        state: tensors to write instead of the backbone's own, such as averaged ones.
        max_shard_size: of one file: bytes, or text such as ``"5GB"``.
        dtype: of floating-point weights in the file, such as ``"bfloat16"``; None: as they are.

    Raises:
        ValueError: an adapter on a backbone whose pipeline is not known here, or another ``dtype``.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: choose one of {', '.join(DTYPES)}")
    whole = {**backbone.state_dict(), **(state or {})}
    if dtype is not None:
        whole = {k: v.to(DTYPES[dtype]) if v.is_floating_point() else v for k, v in whole.items()}
    if getattr(backbone, "peft_config", None):
        return _save_lora(backbone, Path(directory), whole)
    folder = Path(directory) / _folder_of(type(backbone).__name__)
    _save_weights(backbone, folder, whole, max_shard_size)
    return folder


def _folder_of(name: str) -> str:
    if "Autoencoder" in name:
        return "vae"
    return "unet" if "UNet" in name else "transformer"


def _save_weights(backbone: nn.Module, folder: Path, state: dict, max_shard_size) -> None:
    """As the backbone's ``save_pretrained``, which takes no state dictionary."""
    from huggingface_hub import save_torch_state_dict

    folder.mkdir(parents=True, exist_ok=True)
    backbone.save_config(folder)
    save_torch_state_dict(
        state,
        folder,
        filename_pattern=WEIGHTS_FILES,
        max_shard_size=max_shard_size,
        metadata={"format": "pt"},
    )


def _save_lora(backbone: nn.Module, directory: Path, state: dict) -> Path:
    import diffusers
    from peft import get_peft_model_state_dict

    name = getattr(FAMILIES.find(backbone), "pipeline", None)
    if name is None:
        raise ValueError(
            f"no diffusers pipeline is known for a LoRA of {type(backbone).__name__}: its family "
            "(vtonlab.registry.FAMILIES) names none"
        )
    pipeline = getattr(diffusers, name)
    adapter = backbone.peft_config["default"].to_dict()
    pipeline.save_lora_weights(
        directory,
        transformer_lora_layers=get_peft_model_state_dict(backbone, state_dict=state),
        transformer_lora_adapter_metadata=adapter,
        weight_name=LORA_FILE,
    )
    return directory / LORA_FILE
