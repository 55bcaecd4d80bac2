"""What a training run will need of memory, before it has weights, data or a GPU.

The network is built on the meta device, then one forward and backward pass of the real conditioner
runs on fake tensors of the config's true sizes, with every tensor counted (`LiveMemory`). Weights,
gradients, optimiser and averages are sums. docs/memory.md writes the arithmetic out.
"""

import copy
import inspect
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from vtonlab.backbones.codec import latent_shape
from vtonlab.backbones.families import BackboneFamily
from vtonlab.backbones.pretrained import DTYPES
from vtonlab.engine.memory.cuda_autocast import CudaAutocast
from vtonlab.engine.memory.live import LiveMemory
from vtonlab.engine.memory.published_shapes import shapes_of
from vtonlab.engine.memory.shapes_alone import ShapesAlone
from vtonlab.engine.parallel.sharding import check_sharding, matching_modules
from vtonlab.engine.running.registries import OPTIMIZERS
from vtonlab.ops.attention_chunked import CHUNK_ELEMENTS
from vtonlab.ops.attention_kernel_pass import MAP_ELEMENTS, kernels_wanted
from vtonlab.registry import BACKBONES, FAMILIES, MODELS
from vtonlab.structures.sample import MASKS
from vtonlab.utils.compat import backward_under_modes

GIB = 2**30
# What a GPU took of a part over what this file expects of it, where that was measured
# (tools/gpu_card.py prints the ratios); parts without a factor count as they are.
FACTORS: Mapping[str, Mapping[str, float]] = {"cuda": {}, "cpu": {}}
# Bytes a parameter of 4-bit weights: half a byte, and a float32 scale for each 64.
_BYTES_4BIT, _BYTES_8BIT = 0.5 + 4 / 64, 1.0
_MAPS = ("person", "garment", "agnostic", "pose")


class Sharing:
    """What one of several processes keeps of a model whose backbone is sharded.

    Args:
        config: with or without ``sharding``.
        model: built, on any device.
        processes: 1 shares nothing out.
    """

    def __init__(self, config: Config, model: nn.Module, processes: int) -> None:
        settings = config.get("sharding") if processes > 1 else None
        self.processes = processes
        self.blocks: list[nn.Module] = []
        self.dtype: torch.dtype | None = None
        self._sharded: set[int] = set()
        if settings:
            part = model.get_submodule(settings.get("module", "backbone"))
            self.blocks = matching_modules(part, settings["blocks"])
            self.dtype = DTYPES[settings["param_dtype"]] if settings.get("param_dtype") else None
            self._sharded = {id(p) for p in part.parameters()}

    def elements(self, tensor: Tensor) -> int:
        """Of one parameter; along its first axis, so that small ones may fill whole rows."""
        if id(tensor) not in self._sharded:
            return tensor.numel()
        rows = len(tensor) if tensor.ndim else 1
        return -(-rows // self.processes) * (tensor.numel() // rows)

    def bytes(self, tensors: Iterable[Tensor]) -> int:
        return sum(self.elements(t) * t.element_size() for t in tensors)

    def gathered_bytes(self) -> int:
        """Of the largest block: itself and the next one that is on its way, its whole gradients,
        and float32 copies of the gradients of two blocks that are being averaged.
        """
        largest = 0
        for block in self.blocks:
            whole = sum(p.numel() * (self.dtype or p.dtype).itemsize for p in block.parameters())
            trained = sum(p.numel() for p in block.parameters() if p.requires_grad)
            gradients = trained * ((self.dtype or torch.float32).itemsize + 2 * 4)
            largest = max(largest, 2 * whole + gradients)
        return largest


def estimate_memory(
    config: Config,
    device: str = "cuda",
    gpus: int = 1,
    factors: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """Bytes of each part at the peak of a training step on one device, and their ``total``.

    Args:
        config: a finished config of a `TryOnDiffusion`.
        device: ``"cuda"`` or ``"cpu"``: how large chunks of attention maps are, and whether the
            optimiser steps all parameters at once.
        gpus: processes that train together; they share out what the config's ``sharding`` says,
            and without it hold everything each.
        factors: name of a part -> what it takes over what is expected; None: ``FACTORS``.

    Raises:
        ValueError: another model, or networks whose shapes are not known.
    """
    if config.model.get("type") != "TryOnDiffusion":
        raise ValueError(f"--estimate knows TryOnDiffusion, not {config.model.get('type')!r}")
    check_sharding(config)
    settings, cached = without_weights(config)
    with torch.device("meta"):
        model = MODELS.build(settings)
    sharing = Sharing(config, model, gpus)
    trained = [p for p in model.parameters() if p.requires_grad]
    parts = {
        "weights, trained": sharing.bytes(trained),
        "weights, frozen": _frozen_bytes(model, config.model["backbone"].get("quantize"), sharing),
        "codec": 0 if cached else _bytes(model.codec.parameters()),
        "gradients": sharing.bytes(trained),
        "optimiser": _optimiser_bytes(config, sum(map(sharing.elements, trained))),
        "average (EMA)": _average_bytes(config, model, sharing),
        "gathered blocks": sharing.gathered_bytes(),
    }
    batch = config.train_dataloader["batch_size"]
    added_at_once = _accumulates(config) or sharing.blocks != []
    after_forward, peak, losses = _pass(
        model, config, batch, cached, device, forget=added_at_once, dtype=sharing.dtype
    )
    parts["attention losses"] = losses
    grown = max(peak, after_forward + losses)  # holds gradients as they come
    if added_at_once:  # to those of the steps before, or to this process's share
        grown += parts["gradients"]
    # torch's optimisers on a GPU step all whole parameters at once, with copies, sharded ones in a
    # loop; a fused step makes no copies
    at_once = device == "cuda" and not sharing.blocks and not _is_fused(config)
    step = parts["gradients"] * (2 if at_once else 1)
    beyond = max(grown, step) - parts["gradients"]
    parts["activations"] = max(beyond - (losses if after_forward + losses >= peak else 0), 0)
    if after_forward + losses < peak:
        parts["attention losses"] = 0  # over before the backward pass reaches its peak
    if not sharing.blocks:
        del parts["gathered blocks"]
    known = FACTORS[device] if factors is None else factors
    parts = {name: int(value * known.get(name, 1.0)) for name, value in parts.items()}
    parts["total"] = sum(parts.values())
    return parts


def without_weights(config: Config) -> tuple[dict, bool]:
    """The model's settings with untrained networks, and whether latents are cached."""
    settings = copy.deepcopy(config.model.to_dict())
    for name in ("backbone", "codec"):
        part = settings[name]
        if part["type"] == "from_pretrained":
            settings[name] = dict(
                type="untrained",
                cls=part["cls"],
                config=shapes_of(part),
                dtype=part.get("dtype", "float32"),
            )
    encoder = settings["conditioner"].get("image_encoder")
    if encoder and encoder["type"] == "from_pretrained":
        folder = Path(str(encoder["path"])) / (encoder.get("subfolder") or "")
        if not (folder / "config.json").is_file():  # a folder's shapes are read without weights
            settings["conditioner"]["image_encoder"] = dict(type=encoder["cls"])  # as published
    prompt = settings["conditioner"].get("prompt")
    if prompt and prompt["type"] in ("CachedPrompt", "PairPrompt"):
        settings["conditioner"]["prompt"] = _text_alone(settings["backbone"], prompt)
    settings["lazy_codec"] = False
    settings.pop("compile", None)  # fake tensors would be compiled for
    return settings, bool(config.train_dataloader["dataset"].get("latents"))


def _text_alone(backbone: Mapping, prompt: Mapping) -> dict:
    """A text source of the shapes that a backbone is told, by its family and its own config."""
    cls = BACKBONES.get(backbone["cls"])
    family = FAMILIES.find(cls) or BackboneFamily()
    own = {name: each.default for name, each in inspect.signature(cls).parameters.items()}
    shapes = own | dict(backbone["config"])
    return dict(
        type="NullPrompt",
        num_tokens=prompt.get("max_length", 512) + family.more_text_tokens,
        dim=shapes.get("joint_attention_dim", shapes.get("cross_attention_dim")),
        pooled_dim=shapes.get("pooled_projection_dim", 0),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _frozen_bytes(model: nn.Module, quantize: dict | None, sharing: Sharing) -> int:
    """Frozen weights other than the codec's, which is a part of its own."""
    codec = {id(p) for p in model.codec.parameters()}
    frozen = [p for p in model.parameters() if not p.requires_grad and id(p) not in codec]
    if not quantize:
        return sharing.bytes(frozen)
    each = _BYTES_4BIT if quantize.get("load_in_4bit") else _BYTES_8BIT
    linear = {id(m.weight) for m in model.backbone.modules() if isinstance(m, nn.Linear)}
    small = sum(p.numel() for p in frozen if id(p) in linear)
    return int(small * each) + _bytes(p for p in frozen if id(p) not in linear)


def _optimiser_bytes(config: Config, count: int) -> int:
    """State of ``count`` parameters, from what one step on a small tensor leaves."""
    settings = config.optim_wrapper.get("optimizer")
    if settings is None:
        raise ValueError("--estimate knows a config with one optimiser")
    sample = nn.Parameter(torch.zeros(1 << 16))
    sample.grad = torch.ones_like(sample)
    settings = settings.to_dict()
    if settings["type"] == "AdamW8bit":
        return int(count * (2 + 2 * 4 / 256))  # two moments of a byte, a scale for each 256
    optimiser = OPTIMIZERS.build(dict(settings, params=[sample]))
    optimiser.step()
    state = [v for v in optimiser.state[sample].values() if torch.is_tensor(v) and v.ndim]
    return _bytes(state) * count // sample.numel()


def _is_fused(config: Config) -> bool:
    """Whether the optimiser's step is one kernel: AdamW's, unless the config says otherwise."""
    settings = config.optim_wrapper.get("optimizer") or {}
    asked = settings.get("fused")
    chosen = settings.get("type") == "AdamW" and not settings.get("foreach")
    return chosen if asked is None else bool(asked)


def _average_bytes(config: Config, model: nn.Module, sharing: Sharing) -> int:
    """mmengine's averaged model is a deep copy of all of it."""
    if any(hook["type"] == "EMAHook" for hook in config.get("custom_hooks") or []):
        return sharing.bytes(model.parameters())
    return 0


def _accumulates(config: Config) -> bool:
    return config.optim_wrapper.get("accumulative_counts", 1) > 1


def _pass(
    model, config, batch_size: int, cached: bool, device: str, *, forget: bool, dtype
) -> tuple[int, int, int]:
    """Live bytes after the forward pass, at the peak, and of the attention losses' own work.

    Args:
        forget: gradients do not stay as they come.
        dtype: that the backbone computes in, where it is not the one it is kept in.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        inside = set(model.backbone.modules())
        for module in model.modules():
            _fill(module, dtype if module in inside else None)
        model.train()
        live = LiveMemory()
        live.ignore([*model.parameters(), *model.buffers()])
        as_on = CudaAutocast if device == "cuda" else nullcontext
        with live:
            with as_on():
                loss, held, after = _forward(
                    model, live, _batch(model, model.size, batch_size), config, cached
                )
                losses = _loss_bytes(model, held, device)
            del held
            if forget:
                for p in model.parameters():
                    if p.requires_grad:
                        p.register_post_accumulate_grad_hook(_forget_gradient)
            with as_on():
                backward_under_modes(loss)
    return after, live.peak, losses


def meta_records(model: nn.Module, size: tuple[int, int], cached: bool, layers=()) -> list:
    """Attention records of ``layers`` (name patterns) after one forward pass of a `TryOnDiffusion`
    on the meta device, with pictures of ``size``: shapes alone, nothing is computed.

    ``model`` comes from ``MODELS.build(without_weights(config)[0])`` on that device.

    Raises:
        ValueError: what the network gives is no prediction of these latents.
    """
    with torch.device("meta"), torch.no_grad(), ShapesAlone():
        model.train()
        batch, encode = _batch(model, size, 1), _fake_encode(model, cached)
        clean = model.conditioner.target(batch, encode)
        conditions = model.conditioner.prepare(batch, encode)
        found = model._run(torch.zeros_like(clean), torch.full((1,), 0.5), conditions, layers)
        if found.sample.shape != clean.shape:
            raise ValueError(
                f"the network gives {tuple(found.sample.shape)} where latents are "
                f"{tuple(clean.shape)}: backbone.out_channels does not fit the codec"
            )
        return found.records


def _forget_gradient(parameter: nn.Parameter) -> None:
    parameter.grad = None


def _fill(module: nn.Module, dtype: torch.dtype | None = None) -> None:
    """Fake weights in place of meta ones: only they choose kernels as real ones do."""
    for name, p in module._parameters.items():
        if p is not None:
            fake = torch.empty(p.shape, dtype=dtype or p.dtype, device="cpu")
            module._parameters[name] = nn.Parameter(fake, requires_grad=p.requires_grad)
    # Some networks keep frequencies as plain attributes (Qwen-Image).
    for held in (module._buffers, vars(module)):
        for name, b in held.items():
            if isinstance(b, Tensor):
                held[name] = torch.empty(b.shape, dtype=b.dtype, device="cpu")


def _batch(model: nn.Module, size: tuple[int, int], count: int) -> dict:
    pictures = [*_MAPS, *(name for name in model.conditioner.needs if name not in MASKS)]
    batch = {name: torch.zeros(count, 3, *size) for name in pictures}
    batch |= {name: torch.zeros(count, 1, *size) for name in MASKS}
    return {**batch, "category": ["upper_body"] * count, "id": [""] * count}


def _forward(model, live: LiveMemory, batch: dict, config: Config, cached: bool):
    """The training step up to the losses: a loss, the records, and the live bytes at its end,
    where autocast's copies of float32 weights still stand.
    """
    autocast = config.optim_wrapper.get("type") == "AutocastOptimWrapper"

    encode = _fake_encode(model, cached)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        with torch.no_grad():
            clean = model.conditioner.target(batch, encode)
            conditions = model.conditioner.prepare(batch, encode)
        sigmas = torch.full((len(clean),), 0.5)
        found = model._run(torch.zeros_like(clean), sigmas, conditions, model.supervised_layers)
        loss = found.sample.float().square().mean()
        for record in found.records:
            loss = loss + record.query.float().mean() + record.key.float().mean()
        return loss, found.records, live.now


def _fake_encode(model: nn.Module, cached: bool):
    """The model's own `encode`, or latents of the right shape where they come from a cache."""

    def encode(pictures: Tensor) -> Tensor:
        if not cached:
            return model.encode(pictures)
        return pictures.new_zeros(len(pictures), *latent_shape(model.codec, pictures.shape[-2:]))

    return encode


def _loss_bytes(model, records, device: str) -> int:
    """Queries and keys in float32 and their gradients, for each loss; and chunks of a map.

    The GPU's kernels read them as they are: gradients in their dtype, and a part of one map.
    """
    if not records:
        return 0
    tokens = 0
    for record in records:
        held = [record.query, record.key, record.context_key]
        tokens += sum(t.numel() for t in held if t is not None)
    if device == "cuda" and kernels_wanted():
        half = records[0].query.element_size()
        return half * tokens * len(model.attention_losses) + 2 * MAP_ELEMENTS
    chunk = min(CHUNK_ELEMENTS[device], max(r.query.shape[2] * r.key.shape[2] * r.query.shape[1]
                                            * r.query.shape[0] for r in records))  # fmt: skip
    return 4 * (2 * tokens * len(model.attention_losses) + 3 * chunk)


def report(parts: dict[str, int], available: int | None = None) -> tuple[str, bool]:
    """Lines for people, and whether it fits in ``available`` bytes (True where unknown)."""
    lines = [f"{name:>18}: {value / GIB:8.3f} GiB" for name, value in parts.items()]
    if available is None:
        return "\n".join(lines), True
    fits = parts["total"] <= 0.94 * available  # the CUDA context and fragments take their share
    verdict = "fits" if fits else "DOES NOT FIT"
    lines.append(f"{verdict} in {available / GIB:.1f} GiB (94 % of it can be used)")
    return "\n".join(lines), fits
