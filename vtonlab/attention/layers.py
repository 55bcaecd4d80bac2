"""Attention layers of a backbone: their names, kinds and execution order, and ways to choose."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from vtonlab.registry import ATTENTION_BLOCKS, UNSEEN_PROCESSORS

# `named_modules` lists a diffusers UNet as down, up, mid; these run as down, mid, up.
STAGE_ORDER = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}


class AttentionLayer(NamedTuple):
    """One attention module of a backbone.

    Attributes:
        name: as ``backbone.named_modules()`` gives it, without wrappers' prefixes.
        kind: ``"self"``, ``"cross"``, ``"joint"`` (text and image streams with projections of
            their own), ``"single"`` (both in one stream), or ``"unknown"``.
        unseen: why a recorder cannot see it; empty where nothing speaks against it.
    """

    name: str
    kind: str
    unseen: str = ""


def unwrap(backbone: nn.Module) -> nn.Module:
    """The module inside ``DistributedDataParallel`` and ``torch.compile`` wrappers."""
    while True:
        if isinstance(backbone, nn.parallel.DistributedDataParallel | nn.DataParallel):
            backbone = backbone.module
        elif isinstance(backbone._modules.get("_orig_mod"), nn.Module):
            backbone = backbone._modules["_orig_mod"]
        else:
            return backbone


class BlockTokens(NamedTuple):
    """What one class of blocks does with its tokens, registered in ``ATTENTION_BLOCKS``.

    Attributes:
        kind: of the block's joint attention: ``"joint"`` or ``"single"``.
        order: of the joint sequence, ``"text_first"`` or ``"image_first"``.
        attention: names of the block's attention modules that see the joint sequence; its others
            see image tokens alone (SD3.5's second attention).
    """

    kind: str
    order: str
    attention: tuple[str, ...] = ("attn",)


def block_tokens(backbone: nn.Module, name: str) -> BlockTokens | None:
    """What is registered for the block that owns attention ``name``; None if nothing is."""
    return ATTENTION_BLOCKS.find(unwrap(backbone).get_submodule(name.rpartition(".")[0]))


def attention_kind(backbone: nn.Module, name: str) -> str:
    """Kind of the attention module called ``name``; see :class:`AttentionLayer`.

    What is registered for its block comes first. Attention with projections for added keys is
    joint, whatever it says of itself: without a registered block its kind is ``"unknown"``.
    """
    tokens = block_tokens(backbone, name)
    if tokens is not None:
        return tokens.kind if name.rpartition(".")[2] in tokens.attention else "self"
    attention = unwrap(backbone).get_submodule(name)
    is_cross = getattr(attention, "is_cross_attention", None)
    if is_cross is None or getattr(attention, "added_kv_proj_dim", None) is not None:
        return "unknown"
    return "cross" if is_cross else "self"


def list_attention_layers(backbone: nn.Module) -> list[AttentionLayer]:
    """All modules of the backbone that have a ``processor``, in execution order.

    That is the convention of diffusers and of our own blocks: the module calls
    ``self.processor(self, ...)``, and the processor calls scaled-dot-product attention once.
    """
    bare = unwrap(backbone)
    return [
        AttentionLayer(
            name, attention_kind(bare, name), why_unseen(bare.get_submodule(name).processor)
        )
        for name in _names(bare)
    ]


def why_unseen(processor: object) -> str:
    """What ``UNSEEN_PROCESSORS`` knows against recording a layer with this processor."""
    return UNSEEN_PROCESSORS.find(processor) or ""


def _names(backbone: nn.Module) -> list[str]:
    """Names of the modules with a ``processor``, in execution order."""
    names = [
        name
        for name, module in unwrap(backbone).named_modules()
        if name and callable(getattr(module, "processor", None))
    ]
    return sorted(names, key=lambda name: STAGE_ORDER.get(name.partition(".")[0], -1))


def select_layers(backbone: nn.Module, layers: Sequence[str]) -> list[str]:
    """Names of the layers that exact names and glob patterns choose, in execution order.

    Patterns are shell globs over whole names (``*`` also crosses dots) and match modules with a
    ``processor``. An exact name may be any module that calls scaled-dot-product attention itself.

    Raises:
        ValueError: where ``layers`` is a bare string or empty, or an entry matches nothing.
    """
    if isinstance(layers, str) or not layers:
        raise ValueError(f"layers must be a non-empty list of names or patterns, got {layers!r}.")
    listed = _names(backbone)
    modules = dict(unwrap(backbone).named_modules())
    chosen: set[str] = set()
    extra: list[str] = []
    for pattern in layers:
        matches = [name for name in listed if fnmatchcase(name, pattern)]
        if not matches and pattern in modules and pattern:
            extra.append(pattern)
        elif not matches:
            raise ValueError(_no_match(pattern, unwrap(backbone), listed))
        chosen.update(matches)
    return [name for name in listed if name in chosen] + list(dict.fromkeys(extra))


def _no_match(pattern: str, backbone: nn.Module, listed: list[str]) -> str:
    existing = ", ".join(listed) if listed else "none"
    return (
        f"No attention layer of {type(backbone).__name__} matches '{pattern}'; "
        f"its attention layers are: {existing}."
    )


def select_by_kind(backbone: nn.Module, kind: str) -> list[str]:
    """Names of all attention layers of one kind; ValueError where there is none."""
    layers = list_attention_layers(backbone)
    names = [layer.name for layer in layers if layer.kind == kind]
    if not names:
        kinds = ", ".join(sorted({layer.kind for layer in layers})) or "none"
        raise ValueError(
            f"{type(unwrap(backbone)).__name__} has no '{kind}' attention layer; "
            f"the kinds it has are: {kinds}."
        )
    return names


def grid_scale(backbone: nn.Module, name: str) -> float:
    """Side of a layer's token grid over the side of the backbone's input grid.

    1.0 for transformers with one grid throughout; ``2 ** -level`` in a UNet, read from where its
    down- and upsamplers stand.
    """
    backbone = unwrap(backbone)
    stage, _, rest = name.partition(".")
    if stage not in STAGE_ORDER:
        return 1.0
    scale = 1.0
    for index, block in enumerate(backbone.down_blocks):
        if stage == "down_blocks" and rest.startswith(f"{index}."):
            return scale
        scale *= 0.5 if block.downsamplers else 1.0
    if stage == "mid_block":
        return scale
    for index, block in enumerate(backbone.up_blocks):
        if rest.startswith(f"{index}."):
            break
        scale *= 2.0 if block.upsamplers else 1.0
    return scale


def select_by_ratio(
    backbone: nn.Module,
    *,
    min_grid_ratio: float = 1 / 32,
    input_ratio: float = 1 / 8,
    inclusive: bool = False,
    layers: Sequence[str] = ("*",),
    where: Callable[[AttentionLayer], bool] | None = None,
) -> list[str]:
    """Layers whose token grid is fine enough: h / H > ``min_grid_ratio`` (Leffa, sec. 3.3).

    Args:
        backbone: a UNet, or a transformer (whose layers share one grid).
        min_grid_ratio: threshold on the side of the token grid over the side of the picture.
        input_ratio: side of the backbone's input grid over the side of the picture: 1/8 for an SD
            latent, 1/16 for packed FLUX latents.
        inclusive: also take layers exactly at the threshold.
        layers: names or patterns to choose among.
        where: further condition on a layer, such as ``lambda layer: layer.kind == "self"``.

    Raises:
        ValueError: where nothing is left.
    """
    ratios = {}
    for name in select_layers(backbone, layers):
        layer = AttentionLayer(name, attention_kind(backbone, name))
        if where is None or where(layer):
            ratios[name] = grid_scale(backbone, name) * input_ratio
    names = [
        name
        for name, ratio in ratios.items()
        if ratio > min_grid_ratio or (inclusive and ratio == min_grid_ratio)
    ]
    if not names:
        largest = max(ratios.values(), default=0.0)
        raise ValueError(
            f"No layer has a grid ratio above {min_grid_ratio:g}; the largest among "
            f"{len(ratios)} candidates is {largest:g}: lower min_grid_ratio."
        )
    return names
