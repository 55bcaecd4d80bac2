"""Loading diffusers modules from a folder or a hub name, with one sentence where that fails."""

import importlib.util
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn

from vtonlab.registry import BACKBONES
from vtonlab.utils.compat import gathered_dtype

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@BACKBONES.register_module()
def from_pretrained(
    *,
    cls: str,
    path: str,
    subfolder: str | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    quantize: Mapping | None = None,
) -> nn.Module:
    """A module with trained weights, of diffusers or of our own.

    Args:
        cls: its class, such as ``"FluxTransformer2DModel"`` or ``"GarmentTokenEncoder"``.
        path: a local folder in the diffusers layout, or a hub name.
        subfolder: the part within it, such as ``"transformer"`` or ``"vae"``.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        revision: a commit of the hub repository, for repeatable loading.
        quantize: settings of diffusers' ``BitsAndBytesConfig``, such as ``dict(load_in_4bit=True,
            bnb_4bit_quant_type="nf4")``, for a frozen base of 4 or 8 bits under a LoRA; it computes
            in ``dtype``. Needs bitsandbytes.

    Raises:
        ImportError: ``quantize`` without bitsandbytes.
        FileNotFoundError: the folder or the hub files cannot be had; the sentence says what to do.
        ValueError: an unknown ``cls`` or ``dtype``, or ``quantize`` without a GPU.
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
            **_quantization(quantize, dtype),
        )
    except (OSError, ValueError) as error:
        part = f" (subfolder {subfolder!r})" if subfolder else ""
        raise FileNotFoundError(
            f"{cls} weights cannot be loaded from {path!r}{part}: accept the model's licence on "
            f"its hub page and run `hf auth login`, or set `pretrained` to a local folder "
            f"in the diffusers layout ({type(error).__name__}: {str(error).splitlines()[0][:160]})"
        ) from error


@BACKBONES.register_module()
def untrained(*, cls: str, config: Mapping, dtype: str = "float32") -> nn.Module:
    """The same network with random weights: what memory and speed are measured on.

    Args:
        cls: a class of diffusers.
        config: its arguments, as ``config.json`` of a folder holds them.
        dtype: as for :func:`from_pretrained`.
    """
    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[dtype])
    try:
        return BACKBONES.get(cls)(**settings)
    finally:
        torch.set_default_dtype(before)


def _quantization(settings: Mapping | None, dtype: str) -> dict:
    """The ``quantization_config`` argument of diffusers, or nothing."""
    if not settings:
        return {}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ImportError("a quantised backbone needs bitsandbytes: pip install bitsandbytes")
    if not torch.cuda.is_available():
        raise ValueError("quantize needs a CUDA GPU: leave it out to train on the CPU")
    from diffusers import BitsAndBytesConfig

    settings = dict(settings)
    if settings.get("load_in_4bit"):
        settings.setdefault("bnb_4bit_compute_dtype", dtype)
    return {"quantization_config": BitsAndBytesConfig(**settings)}


def half_precision(module: nn.Module) -> AbstractContextManager:
    """Autocast to the half precision that parameters of ``module`` are kept (or, where they are
    sharded, gathered) in; nothing for a module without any.
    """
    gathered = gathered_dtype(module)
    if gathered is not None:
        return torch.autocast(next(module.parameters()).device.type, dtype=gathered)
    for parameter in module.parameters():
        if parameter.dtype in (torch.bfloat16, torch.float16):
            return torch.autocast(parameter.device.type, dtype=parameter.dtype)
    return nullcontext()
