"""One model over several processes: each keeps its share of parameters, gradients and moments.

torch's ``fully_shard`` (FSDP2) gathers a block's parameters while the block runs. A config asks::

    sharding = dict(blocks=["transformer_blocks.*", "single_transformer_blocks.*"],
                    param_dtype="bfloat16")

Sharded are the parameters of one part of the model, its backbone; all else (codec, prompts,
parameters of losses) stays whole in every process. What is saved is gathered: a checkpoint of a
sharded run and one of a single process have the same form, and each continues as the other.

mmengine's own strategies are not used: its ``FSDPStrategy`` needs ``FlexibleRunner`` (a second
runner, without this one's checkpoints), a GPU, and the older FSDP, which flattens the parameters
of a block into one and so takes no frozen ones of another dtype beside a LoRA.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import is_main_process
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from vtonlab.backbones.pretrained import DTYPES
from vtonlab.utils.compat import shard_in_place


def check_sharding(config: Config) -> None:
    """Refuse what cannot be sharded, before anything is built.

    Raises:
        ValueError: names the key and the way out.
    """
    settings = config.get("sharding")
    if not settings:
        return
    if not settings.get("blocks"):
        raise ValueError(
            "sharding needs blocks=[...]: patterns of the backbone's repeated modules, such as "
            "'transformer_blocks.*'"
        )
    dtype = settings.get("param_dtype")
    if dtype not in (None, "bfloat16"):
        raise ValueError(f"sharding.param_dtype={dtype!r}: choose 'bfloat16' or None (as kept)")
    wrapper = config.get("optim_wrapper") or {}
    if wrapper.get("dtype") == "float16":
        raise ValueError(
            "optim_wrapper.dtype='float16' cannot be sharded (its loss scaler knows whole "
            "gradients only): use 'bfloat16', or drop `sharding`"
        )
    if dtype and wrapper and wrapper.get("type") != "AutocastOptimWrapper":
        raise ValueError(
            f"sharding.param_dtype={dtype!r} computes in half precision: set "
            f"optim_wrapper.type='AutocastOptimWrapper', or param_dtype=None"
        )
    if (wrapper.get("optimizer") or {}).get("type") == "AdamW8bit":
        raise ValueError("AdamW8bit cannot be sharded: use 'AdamW', or drop `sharding`")
    module = (config.get("model") or {}).get(settings.get("module", "backbone")) or {}
    if module.get("quantize"):
        raise ValueError("a quantised backbone cannot be sharded: drop `quantize` or `sharding`")


def shard_model(
    model: nn.Module,
    device: str | torch.device,
    *,
    blocks: Sequence[str],
    module: str = "backbone",
    param_dtype: str | None = None,
) -> nn.Module:
    """Shard ``model.<module>`` over all processes, in place; the rest is copied to ``device``.

    Parameters reach the device block by block and first become those of process 0, so processes
    that drew other random numbers agree. Frozen parameters are sharded too.

    Args:
        blocks: patterns of modules below ``module``, part by part (``"transformer_blocks.*"``);
            each is gathered by itself.
        module: name of a child of the model.
        param_dtype: ``"bfloat16"`` gathers and computes in it, while shares, gradients and moments
            stay as kept; then the optimiser wrapper has to be an ``AutocastOptimWrapper``.

    Raises:
        ValueError: no such child, or a pattern that matches nothing.
    """
    part = dict(model.named_children()).get(module)
    if part is None:
        names = ", ".join(name for name, _ in model.named_children())
        raise ValueError(f"sharding.module={module!r} is no part of the model: it has {names}")
    kind = torch.device(device).type
    mesh = init_device_mesh(kind, (dist.get_world_size(),))
    dtype = DTYPES[param_dtype] if param_dtype else None
    for share in [*matching_modules(part, blocks), part]:
        share.to(device)
        _copy_from_first(share)
        shard_in_place(share, mesh, dtype)
    for name, child in model.named_children():
        if name != module:
            child.to(device)
            _copy_from_first(child)
            _average_gradients(child)
    return model


def matching_modules(module: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Modules below ``module`` whose names fit the patterns of ``sharding.blocks``.

    Raises:
        ValueError: a pattern that matches nothing.
    """
    found: dict[str, nn.Module] = {}
    for pattern in patterns:
        wanted = pattern.split(".")
        names = [
            name
            for name, _ in module.named_modules()
            if len(parts := name.split(".")) == len(wanted) and all(map(fnmatchcase, parts, wanted))
        ]
        if not names:
            children = ", ".join(f"{name}.*" for name, _ in module.named_children())
            raise ValueError(f"sharding.blocks: {pattern!r} matches no module, as {children} would")
        found |= {name: module.get_submodule(name) for name in names}
    return list(found.values())


def _copy_from_first(module: nn.Module) -> None:
    """Whole tensors of process 0 become everybody's."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if not isinstance(tensor, DTensor) and tensor.numel():
            dist.broadcast(tensor.data, 0)


def _average_gradients(module: nn.Module) -> None:
    """As DDP does, for the few parameters that stay whole (a loss's own).

    The mean of sums is the sum of means, so accumulated gradients stay right.
    """

    def average(parameter: nn.Parameter) -> None:
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()

    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(average)


def own_share(tensor: Tensor) -> Tensor:
    """What of a tensor lies in this process, sharing its memory: all of it, if it is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_sharded(model: nn.Module) -> bool:
    """Whether any parameter is this process's share of a larger one."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


# What is saved and loaded ------------------------------------------------------------------------


def gathered(value: Any) -> Any:
    """Copy of nested dictionaries and lists with whole tensors on the CPU, in process 0; there
    alone: in the others a sharded tensor becomes None. All processes have to call it.
    """
    if isinstance(value, DTensor):
        whole = value.detach().full_tensor()
        return whole.cpu() if is_main_process() else None
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: gathered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [gathered(item) for item in value]
    return value


def scattered(value: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, where ``like`` is sharded; nothing is sent."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def scattered_state(state: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dictionary of whole tensors as a sharded module loads it."""
    return {k: scattered(v, like[k]) if k in like else v for k, v in state.items()}


def scattered_optimizer(state: dict, optimizer: torch.optim.Optimizer) -> dict:
    """The same for an optimiser's; moments have the shape of their parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(isinstance(p, DTensor) for p in parameters):
        return state
    moments = {
        number: {
            key: scattered(value, parameters[number]) if torch.is_tensor(value) else value
            for key, value in values.items()
        }
        for number, values in state["state"].items()
    }
    return {**state, "state": moments}


# Gradients ---------------------------------------------------------------------------------------


def gradient_norm(parameters: Sequence[nn.Parameter], norm_type: float = 2.0) -> Tensor:
    """Norm of all gradients, the same in every process; sharded and whole ones may be mixed."""
    norms = []
    for sharded in (False, True):
        grads = [p.grad for p in parameters if isinstance(p.grad, DTensor) == sharded]
        if grads:
            norm = torch.nn.utils.get_total_norm(grads, norm_type=norm_type)
            norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    if len(norms) == 1:
        return norms[0]
    return torch.nn.utils.get_total_norm(norms, norm_type=norm_type)


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float, norm: Tensor) -> None:
    """Scale gradients of norm ``norm`` down to ``max_norm``, in place."""
    for sharded in (False, True):
        some = [p for p in parameters if isinstance(p.grad, DTensor) == sharded]
        if some:
            torch.nn.utils.clip_grads_with_norm_(some, max_norm, norm)
