"""Names of CompVis/ldm checkpoints and ours, one to one: what both UNet converters share.

A rule gives the authors' name of one of our parameters; the names of a whole model follow from its
modules (built on the meta device), so that no list of keys is kept. Only two things change beside
names: attention of the VAE is a 1x1 convolution there and linear here, and queries, keys and values
of the token mapper are one matrix there and three here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


Rules = tuple[tuple[str, str], ...]
_RESNET: Rules = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)
_HEADS: Rules = (
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
)


def unet_name(name: str, *, layers: int, attends: Callable[[int], bool]) -> str:
    """ldm's name of a parameter of diffusers' UNet (or of a copy of its encoder).

    Args:
        name: such as ``down_blocks.0.resnets.1.conv1.weight``.
        layers: ResBlocks of one level of the encoder.
        attends: whether the decoder's level (0 the lowest) has attention.

    Raises:
        ValueError: a name outside the SD-1.x layout.
    """
    for ours, theirs in _HEADS:
        if name.startswith(f"{ours}."):
            return theirs + name[len(ours) :]
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name)
    if found:
        side, level, kind, number, rest = found.groups()
        return _block_name(side, int(level), kind, int(number), rest, layers, attends)
    found = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name)
    if found:
        kind, number, rest = found.groups()
        if kind == "attentions":
            return f"middle_block.1.{rest}"
        return f"middle_block.{2 * int(number)}.{_resnet(rest)}"
    raise ValueError(f"{name!r} has no place in an SD-1.x checkpoint")


def _block_name(side, level, kind, number, rest, layers, attends) -> str:
    if side == "down":
        first = 1 + level * (layers + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + layers}.0.op.{rest.removeprefix('conv.')}"
        stage = f"input_blocks.{first + number}"
    else:
        first = level * (layers + 1)
        if kind == "upsamplers":
            return f"output_blocks.{first + layers}.{1 + attends(level)}.{rest}"
        stage = f"output_blocks.{first + number}"
    return f"{stage}.0.{_resnet(rest)}" if kind == "resnets" else f"{stage}.1.{rest}"


def _resnet(rest: str) -> str:
    return _replace_head(rest, _RESNET)


def _replace_head(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for ours, theirs in rules:
        if name.startswith(f"{ours}."):
            return theirs + name[len(ours) :]
    raise ValueError(f"{name!r} has no place in the authors' checkpoint")


def vae_name(name: str, *, levels: int) -> str:
    """ldm's name of a parameter of diffusers' ``AutoencoderKL``."""
    if name.startswith(("quant_conv.", "post_quant_conv.")):
        return name
    half, _, rest = name.partition(".")
    found = re.fullmatch(r"(?:down|up)_blocks\.(\d+)\.(resnets|\w+samplers)\.(\d+)\.(.+)", rest)
    if found:
        level, kind, number, tail = found.groups()
        stage = f"down.{level}" if half == "encoder" else f"up.{levels - 1 - int(level)}"
        if kind != "resnets":
            return f"{half}.{stage}.{kind.removesuffix('rs')}.{tail}".replace("sample.0", "sample")
        return f"{half}.{stage}.block.{number}.{tail.replace('conv_shortcut', 'nin_shortcut')}"
    found = re.fullmatch(r"mid_block\.resnets\.(\d+)\.(.+)", rest)
    if found:
        tail = found[2].replace("conv_shortcut", "nin_shortcut")
        return f"{half}.mid.block_{int(found[1]) + 1}.{tail}"
    attention = (
        ("group_norm", "norm"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        ("to_out.0", "proj_out"),
    )
    if rest.startswith("mid_block.attentions.0."):
        tail = rest.removeprefix("mid_block.attentions.0.")
        return f"{half}.mid.attn_1.{_replace_head(tail, attention)}"
    if rest.startswith("conv_norm_out."):
        return f"{half}.norm_out.{rest.removeprefix('conv_norm_out.')}"
    if rest.startswith(("conv_in.", "conv_out.")):
        return name
    raise ValueError(f"{name!r} has no place in an ldm autoencoder")


_MAPPER: Rules = (
    ("norm1", "ln_1"),
    ("attn1.to_q", "attn.c_qkv#0"),  # rows of one matrix
    ("attn1.to_k", "attn.c_qkv#1"),
    ("attn1.to_v", "attn.c_qkv#2"),
    ("attn1.to_out.0", "attn.c_proj"),
    ("norm3", "ln_2"),
    ("ff.net.0.proj", "mlp.c_fc"),
    ("ff.net.2", "mlp.c_proj"),
)


def token_name(name: str) -> str:
    """The authors' name of a parameter of ``GarmentTokenEncoder``; ``#n`` is the n-th third of its
    rows.
    """
    if name == "uncond_vector":
        return "learnable_vector"
    if name.startswith("proj_out."):
        return name
    if name.startswith("final_layer_norm."):
        return f"cond_stage_model.final_ln.{name.removeprefix('final_layer_norm.')}"
    if name.startswith("model."):
        rest = name.removeprefix("model.").removeprefix("vision_model.")
        return f"cond_stage_model.transformer.vision_model.{rest}"
    found = re.fullmatch(r"mapper\.blocks\.(\d+)\.(.+)", name)
    if found:
        tail = _replace_head(found[2], _MAPPER)
        return f"cond_stage_model.mapper.resblocks.{found[1]}.{_third_last(tail)}"
    raise ValueError(f"{name!r} has no place in the authors' checkpoint")


def _third_last(name: str) -> str:
    """``attn.c_qkv#0.weight`` -> ``attn.c_qkv.weight#0``."""
    found = re.fullmatch(r"(.+)#(\d)\.(\w+)", name)
    return f"{found[1]}.{found[3]}#{found[2]}" if found else name


def to_ours(theirs: Mapping[str, Tensor], names: Mapping[str, str], shapes) -> dict[str, Tensor]:
    """Our tensors from the authors'.

    Args:
        names: our name -> the authors', as the rules above give it.
        shapes: our name -> shape.

    Raises:
        ValueError: a key is missing or has another shape.
    """
    ours = {}
    for name, place in names.items():
        key, _, third = place.partition("#")
        if key not in theirs:
            raise ValueError(f"the checkpoint lacks {key!r}, which is our {name!r}")
        value = theirs[key]
        if third:
            value = value.chunk(3)[int(third)]
        shape = tuple(shapes[name])
        if tuple(value.shape) != shape and tuple(value.shape[:2]) == shape:
            value = value.flatten(1)  # a 1x1 convolution that is linear here
        if tuple(value.shape) != shape:
            raise ValueError(f"{key!r} is {tuple(value.shape)}, our {name!r} is {shape}")
        ours[name] = value.clone()
    return ours


def to_theirs(ours: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Inverse of :func:`to_ours`."""
    import torch

    theirs: dict[str, Tensor] = {}
    thirds: dict[str, dict[int, Tensor]] = {}
    for name, place in names.items():
        if name not in ours:
            raise ValueError(
                f"the weights lack {name!r}: a training checkpoint holds what was trained alone; "
                "convert a file that tools/convert made, or give both with --base"
            )
        key, _, third = place.partition("#")
        value = ours[name]
        if third:
            thirds.setdefault(key, {})[int(third)] = value
        else:
            convolution = ".attn_1." in key and value.ndim == 2
            theirs[key] = value[:, :, None, None] if convolution else value
    for key, parts in thirds.items():
        theirs[key] = torch.cat([parts[n] for n in range(3)])
    return theirs
