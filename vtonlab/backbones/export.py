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
