"""Which attention calls a recorder can see, and the one sentence that refuses the others."""

from typing import Any

from vtonlab.registry import UNSEEN_PROCESSORS
from vtonlab.utils.compat import active_diffusers_attention_backend

# diffusers' `dispatch_attention_fn` backends that end in `F.scaled_dot_product_attention`
# (diffusers 0.42, models/attention_dispatch.py). All others call kernels of their own.
VISIBLE_BACKENDS = frozenset(
    {"native", "_native_cudnn", "_native_efficient", "_native_flash", "_native_math"}
)

UNSEEN_PROCESSORS.add(
    "linear attention, which has no map",
    *("diffusers.SanaLinearAttnProcessor2_0", "diffusers.SanaLinearAttnProcessor3_0"),
    *(
        "diffusers.PAGCFGSanaLinearAttnProcessor2_0",
        "diffusers.PAGIdentitySanaLinearAttnProcessor2_0",
    ),
    "diffusers.SanaMultiscaleAttnProcessor2_0",
)


def dispatch_backend(processor: Any) -> str | None:
    """Name of the diffusers attention backend a processor will use.

    Returns None for processors that do not go through diffusers' dispatcher: those carry no
    ``_attention_backend`` attribute and choose their kernel themselves.
    """
    if not hasattr(type(processor), "_attention_backend"):
        return None
    backend = processor._attention_backend
    if backend is None:
        return active_diffusers_attention_backend()
    return str(getattr(backend, "value", backend))


def check_visible(name: str, processor: Any) -> None:
    """Refuse a layer whose attention call cannot be seen.

    Raises:
        ValueError: where the processor uses another backend than torch's
            ``scaled_dot_product_attention``, or splits the sequence over devices.
    """
    backend = dispatch_backend(processor)
    if backend is None:
        return
    if backend not in VISIBLE_BACKENDS:
        raise ValueError(
            f"AttentionRecorder cannot see attention backend '{backend}' at layer '{name}': "
            "call set_attention_backend('native') on the backbone, or leave this layer unrecorded."
        )
    if getattr(processor, "_parallel_config", None) is not None:
        raise ValueError(
            f"AttentionRecorder cannot record layer '{name}' under context parallelism, where no "
            "rank holds all keys: run without a parallel config, or leave this layer unrecorded."
        )
