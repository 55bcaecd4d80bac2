"""Which weights train: freezing by name pattern, LoRA through peft, and small checkpoints that
follow from it.
"""

import warnings
from collections.abc import Sequence
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

ATTENTION_PROJECTIONS = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
)


def add_lora(
    backbone: nn.Module,
    *,
    rank: int = 64,
    alpha: int | None = None,
    dropout: float = 0.0,
    target_modules: Sequence[str] = ATTENTION_PROJECTIONS,
) -> None:
    """Freeze ``backbone`` and add a trainable LoRA adapter to its attention projections (METHODS.md
    A11).

    Args:
        rank, alpha, dropout: of the adapter; ``alpha=None`` takes ``rank``.
        target_modules: endings of module names.

    Raises:
        ValueError: no module matches.
    """
    backbone.requires_grad_(False)
    inject_lora(
        backbone,
        "default",
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        target_modules=target_modules,
    )
    train_in_float32(backbone)


def inject_lora(
    backbone: nn.Module,
    name: str,
    *,
    rank: int = 64,
    alpha: int | None = None,
    dropout: float = 0.0,
    target_modules: Sequence[str] = ATTENTION_PROJECTIONS,
) -> None:
    """Add one LoRA of that name, as `add_lora` describes it; only it trains then.

    Raises:
        ValueError: no module matches.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha or rank,
        lora_dropout=dropout,
        target_modules=list(target_modules),
        init_lora_weights="gaussian",
    )
    try:
        with warnings.catch_warnings():  # peft wonders at a second adapter, which is meant
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            backbone.add_adapter(config, adapter_name=name)
    except ValueError as error:
        if "not found in the base model" not in str(error):
            raise
        which = "" if name == "default" else f" {name!r}"
        raise ValueError(
            f"LoRA{which}: no module name ends in any of {list(target_modules)}"
        ) from error


def train_in_float32(module: nn.Module) -> None:
    """What trains, whatever the frozen rest is kept in: steps of 1e-5 are lost in bfloat16."""
    for parameter in module.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def train_only(module: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze every parameter of ``module`` whose name matches none of the glob ``patterns``; those
    that train are kept in float32.

    Raises:
        ValueError: a pattern matches no parameter; the sentence lists some names.
    """
    names = [name for name, _ in module.named_parameters()]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ValueError(f"trainable={pattern!r} matches no parameter, such as {names[:5]}")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(any(fnmatch(name, pattern) for pattern in patterns))
    train_in_float32(module)


def keep_only_trained(module: nn.Module, *, also: Sequence[str] = ()) -> None:
    """Leave frozen parameters out of ``module.state_dict()``, and do not miss them when loading.

    Buffers of parts without a parameter that trains stay out too (FLUX.2's VAE has some).

    A LoRA checkpoint of FLUX is then 0.3 GB instead of 24.

    Args:
        also: beginnings of names that are saved although they are frozen, because an earlier stage
            trained them.
    """
    module.saved_when_frozen = tuple(also)
    module.register_state_dict_post_hook(_drop_frozen)
    module.register_load_state_dict_post_hook(_forgive_frozen)


def frozen_names(module: nn.Module) -> set[str]:
    """Names of the parameters that do not train and are not saved, and of the buffers of parts
    without a parameter that trains.
    """
    names = [name for name, p in module.named_parameters() if not p.requires_grad]
    for part, child in module.named_children():
        trains = [parameter.requires_grad for parameter in child.parameters()]
        if trains and not any(trains):
            names += [f"{part}.{name}" for name, _ in child.named_buffers()]
    return {name for name in names if not name.startswith(module.saved_when_frozen)}


def _drop_frozen(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: dict) -> None:
    for name in frozen_names(module):
        state.pop(prefix + name, None)


def _forgive_frozen(module: nn.Module, incompatible) -> None:
    frozen = frozen_names(module)
    missing = incompatible.missing_keys
    missing[:] = [key for key in missing if not any(key.endswith(name) for name in frozen)]
