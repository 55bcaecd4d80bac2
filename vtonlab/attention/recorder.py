"""See the queries and keys of chosen attention layers during one backbone call.

The recorder looks and never touches: a layer's own processor does all of the work, under a
``TorchFunctionMode`` that notes the arguments of its ``F.scaled_dot_product_attention`` call. What
it notes are references to tensors of the running autograd graph, so a loss on a record reaches the
layer's projections, with activation checkpointing (non-reentrant) or without. ``to_record`` runs
after the backbone call: indexing inside a checkpointed region would save tensors that its
recomputation, which is not recorded, does not produce again.

Shape letters: B batch, H heads, Hk key heads, N queries, M keys, D head channels.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vtonlab.attention.backends import check_visible
from vtonlab.attention.layers import select_layers, unwrap
from vtonlab.ops.attention_mask import as_key_mask
from vtonlab.utils.compat import in_backward

if TYPE_CHECKING:
    from vtonlab.structures import AttentionRecord

# (name, query, key, scale, mask=None)
ToRecord = Callable[..., "AttentionRecord | list[AttentionRecord] | None"]


class _Call(NamedTuple):
    """Arguments of one scaled-dot-product call, and the dtype it computed in.

    Once noted, ``attn_mask`` is None, a key mask (B, M), or (B, N, M) where queries differ.
    """

    query: Tensor  # (B, H, N, D)
    key: Tensor  # (B, Hk, M, D)
    attn_mask: Tensor | None
    is_causal: bool
    scale: float
    dtype: torch.dtype


def _bind(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """The signature of F.scaled_dot_product_attention, which has none that inspect can read."""
    scale = query.shape[-1] ** -0.5 if scale is None else float(scale)
    return _Call(query, key, attn_mask, is_causal, scale, query.dtype)


class _CallCatcher(TorchFunctionMode):
    """Keeps the arguments of every scaled-dot-product call made under it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            # Autocast converts below this level; the output tells what the kernel was given.
            self.calls.append(_bind(*args, **kwargs)._replace(dtype=output.dtype))
        return output


class _RecordingProcessor:
    """Stands in for a layer's processor: calls it, and hands its attention call to the recorder."""

    def __init__(self, recorder: "AttentionRecorder", name: str, own: Any) -> None:
        self.recorder, self.name, self.own = recorder, name, own

    def run(self, *args, **kwargs):
        if not self.recorder._is_open or in_backward():
            return self.own(*args, **kwargs)
        check_visible(self.name, self.own)
        with _CallCatcher() as catcher:
            output = self.own(*args, **kwargs)
        self.recorder._note(self.name, type(self.own).__name__, catcher.calls)
        return output


@functools.cache
def _recording_class(own: type) -> type[_RecordingProcessor]:
    """Class of the stand-ins for processors of one class.

    diffusers chooses the arguments it passes by the signature of ``processor.__call__``, and a
    compiled block guards on the processor's class: so both belong to the class, and a new stand-in
    for each call costs no recompilation.
    """

    def call(self, *args, **kwargs):
        return self.run(*args, **kwargs)

    functools.update_wrapper(call, own.__call__, updated=())
    attributes = {"__call__": torch.compiler.disable(call)}
    return type(f"Recording{own.__name__}", (_RecordingProcessor,), attributes)


class AttentionRecorder:
    """Context manager that records chosen attention layers of one backbone call.

    Args:
        backbone: the module whose layers are recorded; wrappers (DDP, ``torch.compile``) are
            looked through.
        layers: exact names or glob patterns over attention-module names, as
            :func:`~vtonlab.attention.list_attention_layers` lists them. An exact name may also be
            a module without ``processor`` that calls scaled-dot-product attention in ``forward``.
        to_record: ``to_record(name, query (B,H,N,D), key (B,H,M,D), scale, mask=None)`` makes the
            record of one layer, a list of several, or None for no record. Query and key are what
            the softmax saw; ``mask`` (B,M) hides keys (bool, True = seen) or is added to their
            scores; it is (B,N,M) where queries differ (`mask_of_queries` takes those that count). A
            function that takes no ``mask`` refuses layers that have one. Of several calls in one
            layer, the one with the most keys is handed over: that of the image over all tokens.

    Raises:
        ValueError: where an entry of ``layers`` matches nothing; on entering with gradients, where
            a layer's block is compiled and recomputed in the backward pass; during the call, where
            a layer's attention cannot be seen, is causal, has a mask that differs between heads, or
            runs under reentrant checkpointing.
        RuntimeError: on leaving, where a chosen layer never ran.
    """

    def __init__(self, backbone: nn.Module, *, layers: Sequence[str], to_record: ToRecord) -> None:
        self.names = select_layers(backbone, layers)
        self._backbone = unwrap(backbone)
        self._to_record = to_record
        self._takes_mask = "mask" in inspect.signature(to_record).parameters
        self._is_open = False
        self._undo: list[Callable[[], None]] = []
        self._calls: list[tuple[str, _Call]] = []
        self._records: list[AttentionRecord] = []

    @property
    def records(self) -> "list[AttentionRecord]":
        """Records in execution order; complete once the ``with`` block is left."""
        if self._is_open:
            raise RuntimeError("AttentionRecorder.records is complete after the with block only.")
        return self._records

    def __enter__(self) -> "AttentionRecorder":
        if self._is_open:
            raise RuntimeError("This AttentionRecorder is already open: make one for each call.")
        if torch.is_grad_enabled():
            self._check_recomputed_as_run()
        self._calls, self._records = [], []
        self._masks: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._with_grad = torch.is_grad_enabled()
        self._is_open = True
        for name in self.names:
            module = self._backbone.get_submodule(name)
            if callable(getattr(module, "processor", None)):
                self._delegate(name, module)
            else:
                self._watch(name, module)
        return self

    def __exit__(self, exc_type, exc_value, traceback) -> None:
        self._is_open = False
        while self._undo:
            self._undo.pop()()
        calls, self._calls = self._calls, []
        self._masks = {}
        if exc_type is not None:
            return
        self._check_all_ran({name for name, _ in calls})
        made = (self._make_records(name, call) for name, call in calls)
        self._records = [record for records in made for record in records]

    def _check_recomputed_as_run(self) -> None:
        """Recording breaks a compiled block's graph, and the recomputation is not recorded."""
        modules = self._backbone.modules()
        if not any(getattr(module, "gradient_checkpointing", False) for module in modules):
            return
        for name in self.names:
            parts = name.split(".")
            for n in range(len(parts) + 1):
                if self._backbone.get_submodule(".".join(parts[:n]))._compiled_call_impl is None:
                    continue
                raise ValueError(
                    f"AttentionRecorder cannot record layer '{name}' with gradients: its block is "
                    "compiled, and recomputed in the backward pass as another graph; leave the "
                    "block as it is (compile_blocks(..., supervised=[...])), or switch gradient "
                    "checkpointing off."
                )

    def _delegate(self, name: str, module: nn.Module) -> None:
        """Put a recording processor in front of the module's own."""
        # The instance dictionary is looked at before nn.Module's tables, so a processor that is a
        # module itself keeps its place among the parameters.
        shadowed = vars(module).get("processor")
        delegate = _recording_class(type(module.processor))(self, name, module.processor)
        object.__setattr__(module, "processor", delegate)

        def restore() -> None:
            if shadowed is None:
                object.__delattr__(module, "processor")
            else:
                object.__setattr__(module, "processor", shadowed)

        self._undo.append(restore)

    def _watch(self, name: str, module: nn.Module) -> None:
        """Record a module without processor through its forward hooks."""
        catchers: list[_CallCatcher] = []

        @torch.compiler.disable
        def before(module, args):
            catchers.append(_CallCatcher())
            catchers[-1].__enter__()

        @torch.compiler.disable
        def after(module, args, output):
            catcher = catchers.pop()
            catcher.__exit__(None, None, None)
            if output is not None and not in_backward():
                self._note(name, type(module).__name__, catcher.calls)

        self._undo.append(module.register_forward_pre_hook(before).remove)
        self._undo.append(module.register_forward_hook(after, always_call=True).remove)

    def _note(self, name: str, processor: str, calls: list[_Call]) -> None:
        """Check what one run of a layer did, and keep it."""
        most = max((call.key.shape[-2] for call in calls), default=0)
        widest = [call for call in calls if call.key.shape[-2] == most]
        if len(widest) != 1:
            raise ValueError(
                f"AttentionRecorder saw {len(calls)} calls of F.scaled_dot_product_attention at "
                f"layer '{name}' ({processor}) and needs exactly one, or one with the most keys: "
                "give the layer a processor that makes one (diffusers' AttnProcessor2_0 does), or "
                "leave it unrecorded."
            )
        (call,) = widest
        if call.query.ndim != 4:
            raise ValueError(
                f"AttentionRecorder needs queries (B, H, N, D) at layer '{name}', got shape "
                f"{tuple(call.query.shape)}: add the head axis before the attention call."
            )
        call = self._with_key_mask(name, call)
        if self._with_grad and not torch.is_grad_enabled():
            raise ValueError(
                f"Gradients are switched off inside layer '{name}', as reentrant "
                "activation checkpointing does: checkpoint with use_reentrant=False, or open the "
                "recorder under torch.no_grad() too."
            )
        self._calls.append((name, call))

    def _with_key_mask(self, name: str, call: _Call) -> _Call:
        """The call with its mask as a key mask (B, M)."""
        if call.is_causal:
            raise ValueError(
                f"AttentionRecorder cannot record layer '{name}', whose attention is causal: a "
                "record holds no mask that differs between queries; leave this layer unrecorded."
            )
        if call.attn_mask is None:
            return call
        if not self._takes_mask:
            raise ValueError(
                f"AttentionRecorder cannot record layer '{name}', whose attention is masked: "
                "to_record takes no `mask`; drop the attention mask or leave this layer unrecorded."
            )
        known = self._masks.get(id(call.attn_mask))
        if known is None:  # kept with what it is made of, so that no other tensor takes its id
            shape = call.query.shape[0], call.query.shape[1], call.query.shape[2], call.key.shape[2]
            known = call.attn_mask, as_key_mask(call.attn_mask.detach(), *shape)
            self._masks[id(call.attn_mask)] = known
        if known[1] is None:
            raise ValueError(
                f"AttentionRecorder cannot record layer '{name}', whose mask "
                f"{tuple(call.attn_mask.shape)} differs between heads: a record holds a mask over "
                "keys alone; leave this layer unrecorded."
            )
        return call._replace(attn_mask=known[1])

    def _check_all_ran(self, seen: set[str]) -> None:
        missing = [name for name in self.names if name not in seen]
        if missing:
            raise RuntimeError(
                f"AttentionRecorder never saw layer(s) {', '.join(missing)} run: call the backbone "
                "inside the with block, and choose layers that it does not skip."
            )

    def _make_records(self, name: str, call: _Call) -> "Sequence[AttentionRecord]":
        query, key = call.query.to(call.dtype), call.key.to(call.dtype)
        if key.shape[1] != query.shape[1]:  # groups of heads share keys
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        mask = {} if call.attn_mask is None else {"mask": call.attn_mask}
        found = self._to_record(name, query, key, call.scale, **mask)
        if found is None:
            return ()
        return found if isinstance(found, list) else (found,)
