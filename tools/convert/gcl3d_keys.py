"""Names of 3D-GCL's published networks and ours, one to one: what its converter is made of.

Names follow from rules over our modules. Beside names four things differ: gates of the recurrent
unit are one matrix here and two there; smoothing layers count (row, column) there and (column, row)
here; ones in shapes; and keys that say nothing: blur kernels, and second names of the PReLU slopes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor


BLUR = (1.0, 3.0, 3.0, 1.0)
_KERNEL = re.compile(r".*\.kernel")
_SLOPE = re.compile(r"(.+)\.model\.3\.weight")  # a second name of <block>.relu.weight
_LAYERS = dict(down1="layer1", down2="layer2", down3="layer3", deep1="layer4", deep2="layer5")
_LAYERS |= {name: name for name in ("merge1", "merge2", "up1", "up2")}
_ENCODERS = dict(person="content_encoder", garment="refernce_encoder")  # spelt so
_HEADS = dict(person="theta", garment="phi")
_BLOCK = {"0": "0.0", "1": "0.1"}
_RESIDUAL = dict(conv1="model.1", norm1="model.2", act="relu", conv2="model.5", norm2="model.6")
_REFINEMENT = {
    "state.": "initial_layer.",
    "compare.": "corr_layer.",
    "motion.found.0.": "refine_net.encoder.convc1.",
    "motion.found.2.": "refine_net.encoder.convc2.",
    "motion.offset.0.": "refine_net.encoder.convf1.",
    "motion.offset.2.": "refine_net.encoder.convf2.",
    "motion.fuse.0.": "refine_net.encoder.conv.",
    "unit.candidates.0.": "refine_net.gru.convq1.",
    "unit.candidates.1.": "refine_net.gru.convq2.",
    "head.0.": "refine_net.flow_head.conv1.",
    "head.2.": "refine_net.flow_head.conv2.",
    "smooth.0.": "filter.",
    "smooth.1.": "filter2.",
}


class Source(NamedTuple):
    """Where one of our tensors lies: keys whose values are joined along their first dimension, and
    the dimension along which they are reversed then.
    """

    keys: tuple[str, ...]
    reverse: int | None = None


def warping_source(name: str) -> Source:
    """Of a parameter or buffer of ``TryOnWarping`` below ``network.`` and ``refinement.``.

    Raises:
        ValueError: a name outside the published network.
    """
    found = re.fullmatch(r"network\.(person|garment)_encoder\.(\w+)\.(\d)\.(.+)", name)
    if found:
        side, layer, place, rest = found.groups()
        inner = f"{_BLOCK[place]}.{rest}" if place in _BLOCK else f"2.{_renamed(rest, _RESIDUAL)}"
        return Source((f"{_ENCODERS[side]}.{_LAYERS[layer]}.{inner}",))
    found = re.fullmatch(r"network\.(person|garment)_heads\.(\d)\.(\w+)", name)
    if found:
        side, scale, rest = found.groups()
        return Source((f"{_HEADS[side]}_{int(scale) + 1}.{rest}",))
    found = re.fullmatch(r"refinement\.scales\.(\d)\.(.+)", name)
    if not found:
        raise ValueError(f"{name!r} has no place in 3D-GCL's first stage")
    module, rest = ("GACRM", "GACRM2")[int(found[1])], found[2]
    gates = re.fullmatch(r"unit\.gates\.(\d)\.(\w+)", rest)
    if gates:
        number, kind = int(gates[1]) + 1, gates[2]
        keys = (f"{module}.refine_net.gru.conv{gate}{number}.{kind}" for gate in "zr")
        return Source(tuple(keys))
    for ours, theirs in _REFINEMENT.items():
        if rest.startswith(ours):
            key = f"{module}.{theirs}{rest.removeprefix(ours)}"
            return Source((key,), _reversed(rest))
    raise ValueError(f"{name!r} has no place in 3D-GCL's first stage")


def _renamed(rest: str, names: Mapping[str, str]) -> str:
    head, _, tail = rest.partition(".")
    return f"{names[head]}.{tail}"


def _reversed(name: str) -> int | None:
    """The dimension in which a smoothing layer counts (row, column)."""
    if re.fullmatch(r"smooth\.\d\.0\.weight", name):
        return 1
    return 0 if re.fullmatch(r"smooth\.\d\.3\.(weight|bias)", name) else None


def generator_source(name: str) -> Source:
    """Of a parameter of ``TwoBranchStyleGenerator``.

    Raises:
        ValueError: a name outside the published network.
    """
    found = re.fullmatch(r"towers\.(garment|retained)\.(.+)", name)
    if found:
        prefix = "appearance_encoder.conv" + ("_f" if found[1] == "retained" else "")
        return Source((_pyramid(found[2], prefix, first=1),))
    found = re.fullmatch(r"towers\.(fuse|heads)\.(\d)\.(\w+)", name)
    if found:
        number = f"{int(found[2]) + 1}{1 if found[1] == 'fuse' else 3}"
        return Source((f"appearance_encoder.conv{number}.{found[3]}",))
    if name.startswith("pose."):
        return Source((_pyramid(name.removeprefix("pose."), "pose_encoder.convs.", first=0),))
    found = re.fullmatch(r"(first|(?:ups|convs|colours)\.(\d))\.(.+)", name)
    if not found:
        raise ValueError(f"{name!r} has no place in 3D-GCL's generator")
    kind, place = found[1].split(".")[0], int(found[2] or 0)
    block = {"first": "conv1", "ups": f"convs.{2 * place}", "convs": f"convs.{2 * place + 1}"}
    block["colours"] = f"to_rgbs.{place - 1}" if place else "to_rgb1"
    return Source((f"{block[kind]}.{styled(found[3], kind == 'colours')}",))


def styled(rest: str, colours: bool) -> str:
    """Their name within a styled convolution, or a layer of colours."""
    if rest == "bias":
        return "bias" if colours else "activate.bias"
    return {"noise_strength": "noise.weight", "conv.conv.weight": "conv.weight"}.get(rest, rest)


def _pyramid(rest: str, prefix: str, first: int) -> str:
    stem = re.fullmatch(r"stem\.(weight|bias)", rest)
    if stem:
        return f"{prefix}{first}.{0 if stem[1] == 'weight' else 1}.{stem[1]}"
    found = re.fullmatch(r"downs\.(\d)\.(.+)", rest)
    return f"{prefix}{int(found[1]) + first + 1}.{residual(found[2])}"


def residual(rest: str) -> str:
    """Their name within a ``ResBlock``."""
    places = {
        "first.weight": "conv1.0.weight",
        "first.bias": "conv1.1.bias",
        "second.weight": "conv2.1.weight",
        "second.bias": "conv2.2.bias",
        "skip.weight": "skip.1.weight",
    }
    return places[rest]


def discriminator_source(name: str) -> Source:
    """Of a parameter of ``ResidualDiscriminator``."""
    if name.startswith("pyramid."):
        return Source((_pyramid(name.removeprefix("pyramid."), "convs.", first=0),))
    layer, _, kind = name.partition(".")
    if layer == "last":
        return Source((f"final_conv.{0 if kind == 'weight' else 1}.{kind}",))
    return Source((f"final_linear.{('hidden', 'score').index(layer)}.{kind}",))


def to_ours(
    theirs: Mapping[str, Tensor], sources: Mapping[str, Source], shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Our tensors from theirs; every key is accounted for.

    Args:
        sources: our name -> where it lies.
        shapes: our name -> shape.

    Raises:
        ValueError: a key is missing, left over, of another shape, or says something else than it
            must; the sentence names it.
    """
    import torch

    ours = {}
    for name, source in sources.items():
        for key in source.keys:
            if key not in theirs:
                raise ValueError(f"the checkpoint lacks {key!r}, which is our {name!r}")
        value = torch.cat([theirs[key].reshape(_joined(theirs[key])) for key in source.keys])
        value = value.reshape(shapes[name]) if _alike(value, shapes[name]) else value
        if tuple(value.shape) != tuple(shapes[name]):
            raise ValueError(
                f"{source.keys[0]!r} is {tuple(theirs[source.keys[0]].shape)}, our {name!r} is "
                f"{tuple(shapes[name])}"
            )
        ours[name] = (value if source.reverse is None else value.flip(source.reverse)).clone()
    used = {key for source in sources.values() for key in source.keys}
    _check_rest(theirs, theirs.keys() - used)
    return ours


def _joined(value: Tensor) -> tuple[int, ...]:
    return (1,) if value.ndim == 0 else tuple(value.shape)


def _alike(value: Tensor, shape: Iterable[int]) -> bool:
    """Whether shapes differ in ones alone."""
    return [n for n in value.shape if n != 1] == [n for n in shape if n != 1]


def _check_rest(theirs: Mapping[str, Tensor], left: Iterable[str]) -> None:
    import torch

    left = sorted(left)
    unknown = [key for key in left if not (_KERNEL.fullmatch(key) or _SLOPE.fullmatch(key))]
    if unknown:
        raise ValueError(
            f"{len(unknown)} keys have no place in this network, such as {unknown[0]!r}: is it "
            "3D-GCL's file of this stage?"
        )
    for key in left:
        slope = _SLOPE.fullmatch(key)
        if slope:
            same = torch.equal(theirs[key], theirs[f"{slope[1]}.relu.weight"])
        else:
            same = torch.equal(theirs[key].float(), kernel(key))
        if not same:
            raise ValueError(f"{key!r} holds other numbers than the published network has there")


def kernel(key: str) -> Tensor:
    """The blur that a key holds: four times as strong where zeros were put between pixels."""
    import torch

    taps = torch.tensor(BLUR) / sum(BLUR)
    gain = 4.0 if re.search(r"(\.blur|upsample)\.kernel$", "." + key) else 1.0
    return gain * taps[:, None] * taps


def to_theirs(
    ours: Mapping[str, Tensor], sources: Mapping[str, Source], constants: Iterable[str] = ()
) -> dict[str, Tensor]:
    """Inverse of :func:`to_ours`.

    Args:
        constants: keys of kernels, which our files do not hold.

    Raises:
        ValueError: a weight is missing.
    """
    theirs = {}
    for name, source in sources.items():
        if name not in ours:
            raise ValueError(
                f"the weights lack {name!r}: convert a file that holds the whole model"
            )
        value = ours[name] if source.reverse is None else ours[name].flip(source.reverse)
        parts = value.chunk(len(source.keys)) if len(source.keys) > 1 else (value,)
        for key, part in zip(source.keys, parts, strict=True):
            theirs[key] = _their_shape(key, part).clone()
            if key.endswith(".relu.weight"):
                theirs[f"{key.removesuffix('.relu.weight')}.model.3.weight"] = theirs[key].clone()
    return theirs | {key: kernel(key) for key in constants}


def _their_shape(key: str, value: Tensor) -> Tensor:
    if re.fullmatch(r"(conv1|convs\.\d+|to_rgb1|to_rgbs\.\d)\.conv\.weight", key):
        return value[None]
    colours = re.fullmatch(r"to_rgb1\.bias|to_rgbs\.\d\.bias", key)
    return value.reshape(1, -1, 1, 1) if colours else value


def generator_kernels(scales: int) -> list[str]:
    """The keys of a generator's blur kernels."""
    keys = []
    for place in range(2, scales + 1):
        blocks = [f"appearance_encoder.conv{f}{place}" for f in ("", "_f")]
        blocks.append(f"pose_encoder.convs.{place - 1}")
        keys += [f"{block}.{part}.0.kernel" for block in blocks for part in ("conv2", "skip")]
        keys.append(f"convs.{2 * (place - 2)}.conv.blur.kernel")
        keys.append(f"to_rgbs.{place - 2}.upsample.kernel")
    return keys
