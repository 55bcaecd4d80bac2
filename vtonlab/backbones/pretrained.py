"""Loading diffusers modules from a folder or a hub name, with one sentence where that fails."""

from pathlib import Path

import torch
from torch import nn

from vtonlab.registry import BACKBONES

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@BACKBONES.register_module()
def from_pretrained(
    *,
    cls: str,
    path: str,
    subfolder: str | None = None,
    dtype: str = "float32",
    revision: str | None = None,
) -> nn.Module:
    """A module with trained weights, of diffusers or of our own.

    Args:
        cls: its class, such as ``"FluxTransformer2DModel"`` or ``"GarmentTokenEncoder"``.
        path: a local folder in the diffusers layout, or a hub name.
        subfolder: the part within it, such as ``"transformer"`` or ``"vae"``.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        revision: a commit of the hub repository, for repeatable loading.

    Raises:
        FileNotFoundError: the folder or the hub files cannot be had; the sentence says what to do.
        ValueError: an unknown ``cls`` or ``dtype``.
    """
    import diffusers

    module_class = BACKBONES.get(cls)
    if not hasattr(module_class, "from_pretrained"):
        raise ValueError(f"cls={cls!r} is no class of diffusers {diffusers.__version__} or vtonlab")
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: choose one of {', '.join(DTYPES)}")
    folder = Path(path) / (subfolder or "")
    if Path(path).is_dir() and not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"no {cls} weights in {folder}: config.json is missing; "
            f"point `path` to a folder in the diffusers layout (transformer/, vae/, ...)"
        )
    try:
        return module_class.from_pretrained(
            path,
            subfolder=subfolder,
            torch_dtype=DTYPES[dtype],
            revision=revision,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        part = f" (subfolder {subfolder!r})" if subfolder else ""
        raise FileNotFoundError(
            f"{cls} weights cannot be loaded from {path!r}{part}: accept the model's licence on "
            f"its hub page and run `huggingface-cli login`, or set `pretrained` to a local folder "
            f"in the diffusers layout ({type(error).__name__}: {str(error).splitlines()[0][:160]})"
        ) from error
