"""Third-party quirks in one place, each with the version it was seen in.

Fused attention
    torch has kernels that return the logsumexp of attention beside its output, but
    `scaled_dot_product_attention` hides it. The private operators below are called with exactly
    the schemas of `FUSED_ATTENTION_SCHEMAS`; `tests/test_utils/test_compat_attention.py` compares
    them with the installed torch (written for 2.15), so that an upgrade fails loudly there.
    FlexAttention returns one publicly (https://github.com/pytorch/pytorch/pull/133159), but trains
    on GPUs only and compiled only. Ends when scaled_dot_product_attention returns it.
Backward passes
    torch tells only privately whether autograd is running in this thread; its own ModuleTracker
    and activation checkpointing ask the same function (written for 2.15).
    `Tensor.backward` takes function modes off before it starts the engine, so that what checkpoints
    recompute is not seen by them; the engine itself, started privately, keeps them on.
Attention backends of diffusers
    The backend chosen by `attention_backend(...)` or `DIFFUSERS_ATTN_BACKEND` can only be read
    from a private registry (written for 0.42).
Triton on Hopper
    Four warps are a group whose products Triton gives to WGMMA instructions. Triton 3.6 and 3.7,
    with the ptxas they bring, build wrong code of small ones: illegal memory access or NaN, by
    where tensors lie (https://github.com/triton-lang/triton/issues/10573,
    https://github.com/flagos-ai/FlagGems/pull/6075). Two warps get none of these instructions.
Sharded parameters
    torch's `fully_shard` changes a module's class to a new one called `FSDP<name>`, by which
    neither diffusers (`config.json`, `compile_repeated_blocks`) nor we would know it; asks for
    averages that gloo does not compute; and tells its precision only privately (written for 2.15).
"""

import warnings

import torch
from torch import Tensor, nn

# --- Triton ---------------------------------------------------------------------------------

_HOPPER = 9  # major compute capability


def warp_groups_are_built_wrong(device: torch.device) -> bool:
    """Whether a kernel for this device must not run in four warps or more."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == _HOPPER


# --- fused attention ------------------------------------------------------------------------

FUSED_ATTENTION_SCHEMAS = {
    "_scaled_dot_product_flash_attention_for_cpu": (
        "aten::_scaled_dot_product_flash_attention_for_cpu(Tensor query, Tensor key, Tensor value,"
        " float dropout_p=0., bool is_causal=False, *, Tensor? attn_mask=None, float? scale=None)"
        " -> (Tensor output, Tensor logsumexp)"
    ),
    "_scaled_dot_product_flash_attention_for_cpu_backward": (
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward(Tensor grad_out, Tensor query,"
        " Tensor key, Tensor value, Tensor out, Tensor logsumexp, float dropout_p, bool is_causal,"
        " *, Tensor? attn_mask=None, float? scale=None)"
        " -> (Tensor grad_query, Tensor grad_key, Tensor grad_value)"
    ),
    "_scaled_dot_product_efficient_attention": (
        "aten::_scaled_dot_product_efficient_attention(Tensor query, Tensor key, Tensor value,"
        " Tensor? attn_bias, bool compute_log_sumexp, float dropout_p=0., bool is_causal=False,"
        " *, float? scale=None)"
        " -> (Tensor output, Tensor log_sumexp, Tensor philox_seed, Tensor philox_offset)"
    ),
    "_scaled_dot_product_efficient_attention_backward": (
        "aten::_scaled_dot_product_efficient_attention_backward(Tensor grad_out_, Tensor query,"
        " Tensor key, Tensor value, Tensor attn_bias, Tensor out, Tensor logsumexp,"
        " Tensor philox_seed, Tensor philox_offset, float dropout_p, bool[4] grad_input_mask,"
        " bool is_causal=False, *, float? scale=None) -> (Tensor, Tensor, Tensor, Tensor)"
    ),
}
_FUSED_ATTENTION_OPERATORS = {
    "cpu": "_scaled_dot_product_flash_attention_for_cpu",
    "cuda": "_scaled_dot_product_efficient_attention",
}
_FUSED_ATTENTION_DTYPES = {
    "cpu": (torch.float64, torch.float32),
    "cuda": (torch.float32,),
}


def fused_attention_refusal(
    query: Tensor, key: Tensor, dtype: torch.dtype | None = None
) -> str | None:
    """Why the fused operators cannot take these tensors, or None where they can.

    Args:
        query, key: (B, H, Nq, D) and (B, H, Nk, D).
        dtype: that they will be raised to; None for their own.
    """
    device, dtype = query.device.type, dtype or query.dtype
    if device not in _FUSED_ATTENTION_OPERATORS:
        return f"there is no fused attention with logsumexp for device {device!r}"
    if dtype not in _FUSED_ATTENTION_DTYPES[device]:
        return f"the fused attention of device {device!r} does not take {dtype}"
    if query.numel() == 0 or key.numel() == 0:
        return "the fused attention does not take empty tensors"
    if not hasattr(torch.ops.aten, _FUSED_ATTENTION_OPERATORS[device]):
        return f"torch {torch.__version__} has no aten::{_FUSED_ATTENTION_OPERATORS[device]}"
    return None


def fused_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Attention and its logsumexp by one fused kernel, outside autograd.

    Args:
        query, key, value: (B, H, Nq, W), (B, H, Nk, W), (B, H, Nk, W) of one width `W`,
            a multiple of eight on CUDA (the kernel's alignment).
        scale: factor of the dot products.
        bias: (B, Nk), finite, added to the scores of a sample's keys; its gradient is not known.

    Returns:
        output (B, H, Nq, W), logsumexp (B, H, Nq), and the tensors that the backward needs
        besides (the CUDA kernel pads its logsumexp to 32 queries and returns its random state).
    """
    if query.device.type == "cpu":
        output, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=_spread(query, bias), scale=scale
        )
        return output, logsumexp, ()
    tensors = *(t.contiguous() for t in (query, key, value)), _spread(query, bias)
    output, padded, seed, offset = torch.ops.aten._scaled_dot_product_efficient_attention(
        *tensors, True, 0.0, False, scale=scale
    )
    return output, padded[..., : query.shape[2]], (padded, seed, offset)


def fused_attention_backward(
    grad_output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    logsumexp: Tensor,
    extra: tuple[Tensor, ...],
    scale: float,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `fused_attention_forward` with respect to query, key and value.

    The kernels use `output` only for `delta = (grad_output * output).sum(-1)`, which they subtract
    from the gradient of every probability; `vtonlab.ops.attention` relies on that (and its tests
    prove it) to send a gradient through the logsumexp.
    """
    if query.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad_output, query, key, value, output, logsumexp, 0.0, False,
            attn_mask=_spread(query, bias), scale=scale,
        )  # fmt: skip
    padded, seed, offset = extra
    query, key, value = (t.contiguous() for t in (query, key, value))
    return torch.ops.aten._scaled_dot_product_efficient_attention_backward(
        grad_output, query, key, value, _spread(query, bias), output, padded, seed, offset, 0.0,
        [True, True, True, False], False, scale=scale,
    )[:3]  # fmt: skip


def _spread(query: Tensor, bias: Tensor | None) -> Tensor | None:
    """A bias (B, Nk) for all heads and queries, without memory for them.

    The CUDA kernel wants each sample's row to begin at a multiple of 16 bytes.
    """
    if bias is None:
        return None
    batch, keys = bias.shape
    if query.device.type != "cpu" and keys % 16:
        bias = nn.functional.pad(bias, (0, 16 - keys % 16))[:, :keys]
    return bias[:, None, None].expand(batch, query.shape[1], query.shape[2], keys)


# --- backward passes ------------------------------------------------------------------------


def in_backward() -> bool:
    """Whether autograd is running a backward pass in this thread."""
    return torch._C._current_graph_task_id() != -1


def backward_under_modes(loss: Tensor) -> None:
    """``loss.backward()`` of a scalar, with the active function modes on in what it recomputes."""
    from torch.autograd.graph import _engine_run_backward

    _engine_run_backward(
        (loss,),
        (torch.ones_like(loss),),
        False,
        False,
        (),
        allow_unreachable=True,
        accumulate_grad=True,
    )


# --- attention backends of diffusers --------------------------------------------------------


def active_diffusers_attention_backend() -> str:
    """Name of the backend that diffusers' ``dispatch_attention_fn`` uses where none is set."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    backend, _ = _AttentionBackendRegistry.get_active_backend()
    return str(getattr(backend, "value", backend))


# --- sharded parameters ---------------------------------------------------------------------


def shard_in_place(module: nn.Module, mesh, dtype: torch.dtype | None) -> None:
    """torch's `fully_shard`; the module keeps the name of its class.

    Args:
        mesh: a one-dimensional `DeviceMesh`.
        dtype: of the gathered parameters in forward and backward; None: as they are kept.
            Gradients are averaged in float32, arguments of `forward` are left alone.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    # blocks of FLUX return views; diffusers never changes them in place, which alone would matter
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module .* returned a view tensor")
    name = type(module).__name__
    policy = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    # the root too: else its parameters stay gathered after a pass without gradients, and what reads
    # `parameters()` then (averages, exports) meets other tensors than before
    fully_shard(module, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
    type(module).__name__ = name
    if mesh.device_type == "cpu":
        module.set_force_sum_reduction_for_comms(True)


def gathered_dtype(module: nn.Module) -> torch.dtype | None:
    """What `shard_in_place` gathers this module's parameters in; None: as kept, or not sharded."""
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(module, FSDPModule):
        return None
    return module._get_fsdp_state()._mp_policy.param_dtype


def checks_files(page) -> None:
    """Make a mounted Gradio page look where the files of a request lie.

    Gradio 6.31: that check waits for ``has_launched``, which ``mount_gradio_app`` never sets.
    """
    page.has_launched = True
