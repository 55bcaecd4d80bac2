"""A trained backbone as diffusers takes it: a LoRA file, or a folder of weights."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from vtonlab.backbones.pretrained import DTYPES
from vtonlab.backbones.text_free import WIDTH, stand_ins
from vtonlab.registry import FAMILIES
from vtonlab.utils.bounded import read_json

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
    ``pipe.load_lora_weights(directory)``; where a pipeline lacks that, as LongCat's does, by
    ``pipe.transformer.load_lora_adapter(directory, weight_name=...)``), one with several by name a
    file ``<name>.safetensors`` each (read with ``weight_name=`` and ``adapter_name=``), any other a
    folder ``transformer/``, ``unet/`` or ``vae/`` (read by ``from_pretrained``): ``config.json``
    and safetensors files, several with an index where one would grow above ``max_shard_size``.

    Args:
        state: tensors to write instead of the backbone's own, such as averaged ones.
        max_shard_size: of one file: bytes, or text such as ``"5GB"``.
        dtype: of floating-point weights in the file, such as ``"bfloat16"``; None: as they are.

    Raises:
        ValueError: an adapter on a backbone whose pipeline is not known here, or another ``dtype``.
    """
    if getattr(backbone, "peft_config", None):
        whole = _as_kept({**backbone.state_dict(), **(state or {})}, dtype)
        return _save_lora(backbone, Path(directory), whole)
    folder = Path(directory) / folder_of(backbone)
    save_weights(backbone, folder, state, max_shard_size=max_shard_size, dtype=dtype)
    return folder


def folder_of(module: nn.Module) -> str:
    """What diffusers calls the folder of a backbone's or a codec's weights."""
    name = type(module).__name__
    if "Autoencoder" in name:
        return "vae"
    return "unet" if "UNet" in name else "transformer"


def save_weights(
    module: nn.Module,
    folder: str | Path,
    state: Mapping[str, Tensor] | None = None,
    *,
    max_shard_size: str | int = "10GB",
    dtype: str | None = None,
) -> None:
    """``config.json`` and weights of a diffusers network in ``folder``, as its ``save_pretrained``,
    which takes no other state; see :func:`export_backbone`.
    """
    from huggingface_hub import save_torch_state_dict

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    module.save_config(folder)
    nothing = stand_ins(module)
    if nothing:
        config = read_json(folder / "config.json") | {"cross_attention_dim": WIDTH}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    whole = _as_kept({**module.state_dict(), **nothing, **(state or {})}, dtype)
    if getattr(module.config, "addition_embed_type", "") is None:  # kept for released weights alone
        whole = {k: v for k, v in whole.items() if not k.startswith("add_embedding.")}
    save_torch_state_dict(
        whole,
        folder,
        filename_pattern=WEIGHTS_FILES,
        max_shard_size=max_shard_size,
        metadata={"format": "pt"},
    )


def _as_kept(state: Mapping[str, Tensor], dtype: str | None) -> dict[str, Tensor]:
    if dtype is None:
        return dict(state)
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: choose one of {', '.join(DTYPES)}")
    kind = DTYPES[dtype]
    return {k: v.to(kind) if v.is_floating_point() else v for k, v in state.items()}


def _save_lora(backbone: nn.Module, directory: Path, state: dict) -> Path:
    """As the pipelines' ``save_lora_weights``, which LongCat's lacks."""
    from diffusers.loaders.lora_base import LoraBaseMixin
    from peft import get_peft_model_state_dict

    if getattr(FAMILIES.find(backbone), "pipeline", None) is None:
        raise ValueError(
            f"no diffusers pipeline is known for a LoRA of {type(backbone).__name__}: its family "
            "(vtonlab.registry.FAMILIES) names none"
        )
    alone = list(backbone.peft_config) == ["default"]
    for adapter, settings in backbone.peft_config.items():
        layers = get_peft_model_state_dict(backbone, state_dict=state, adapter_name=adapter)
        LoraBaseMixin.write_lora_layers(
            state_dict=LoraBaseMixin.pack_weights(layers, "transformer"),
            save_directory=directory,
            is_main_process=True,
            weight_name=LORA_FILE if alone else f"{adapter}.safetensors",
            save_function=None,
            safe_serialization=True,
            lora_adapter_metadata={f"transformer.{k}": v for k, v in settings.to_dict().items()},
        )
    return directory / LORA_FILE if alone else directory
