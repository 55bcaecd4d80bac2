"""A lossless codec with ``AutoencoderKL``'s interface, for toy sizes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.registry import BACKBONES, CODECS
from vtonlab.utils.upload import upload


class ExactPosterior:
    """A posterior without spread: mode and sample are the encoding itself."""

    def __init__(self, mean: Tensor) -> None:
        self.mean, self.std = mean, torch.zeros_like(mean)

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.mean


@BACKBONES.register_module()
class SpaceToDepthCodec(nn.Module):
    """Folds ``factor`` x ``factor`` pixels into channels and back, bit for bit.

    Stands in for the VAE where a picture is too small to be compressed. Latents are ``(B, 3 *
    factor^2, H / factor, W / factor)``; ``config`` carries the fields that callers read from
    ``AutoencoderKL.config``.
    """

    def __init__(self, *, factor: int = 2, scaling_factor: float = 1.0, shift_factor: float = 0.0):
        super().__init__()
        self.factor = factor
        self.config = SimpleNamespace(
            scaling_factor=scaling_factor,
            shift_factor=shift_factor,
            latent_channels=3 * factor * factor,
            block_out_channels=(1,) * factor.bit_length(),  # 2 ** (len - 1) == factor
        )

    def encode(self, pictures: Tensor) -> SimpleNamespace:
        """``pictures`` (B, 3, H, W) in [-1, 1]; the result has ``latent_dist`` with ``mode()`` and
        ``sample()``.
        """
        return SimpleNamespace(latent_dist=ExactPosterior(F.pixel_unshuffle(pictures, self.factor)))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        """Inverse of :meth:`encode`; the result has ``sample`` (B, 3, H, W)."""
        return SimpleNamespace(sample=F.pixel_shuffle(latents, self.factor))


class LazyCodec(nn.Module):
    """A codec that is loaded when it is first used, and without its encoder until that is.

    Where latents are cached, training never loads it; drawing a picture keeps the decoder alone.

    Args:
        codec: its config.
    """

    def __init__(self, codec: Mapping) -> None:
        super().__init__()
        self._settings = dict(codec)
        self._found: list[nn.Module] = []  # a list, so that checkpoints never hold it
        self.register_buffer("_place", torch.zeros(0), persistent=False)

    @property
    def loaded(self) -> bool:
        return bool(self._found)

    def _codec(self, encoder: bool = False) -> nn.Module:
        whole = self._found and getattr(self._found[0], "encoder", True) is not None
        if not self._found or (encoder and not whole):
            found = BACKBONES.build(dict(self._settings)).requires_grad_(False).eval()
            if not encoder and hasattr(found, "encoder"):
                found.encoder = None  # half of a VAE's weights
            self._found = [found]
        return self._found[0].to(self._place.device)

    @property
    def config(self):
        return self._codec().config

    def encode(self, pictures: Tensor):
        codec = self._codec(encoder=True)
        return codec.encode(pictures.to(weights_dtype(codec)))

    def decode(self, latents: Tensor):
        codec = self._codec()
        return codec.decode(latents.to(weights_dtype(codec)))


def whole_codec(codec: nn.Module) -> nn.Module:
    """The codec itself, with encoder and decoder, whether it was loaded before or not."""
    return codec._codec(encoder=True) if isinstance(codec, LazyCodec) else codec


def encode_pictures(codec: nn.Module, pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] to scaled latents; the posterior's mode, so that nothing is
    drawn here. In the weights' dtype, whatever autocast is on.
    """
    pictures = pictures.to(weights_dtype(codec))
    with torch.no_grad(), own_precision(pictures):
        if _facts(codec).frames:
            latents = codec.encode(pictures[:, :, None]).latent_dist.mode()[:, :, 0]
        else:
            latents = codec.encode(pictures).latent_dist.mode()
    return scale_latents(codec, latents.float())


def decode_latents(codec: nn.Module, latents: Tensor) -> Tensor:
    """Scaled latents to pictures (B, 3, H, W), about [-1, 1]."""
    latents = unscale_latents(codec, latents).to(weights_dtype(codec))
    if _facts(codec).frames:
        return codec.decode(latents[:, :, None]).sample[:, :, 0].float()
    return codec.decode(latents).sample.float()


class CodecFacts(NamedTuple):
    """How latents of a class of codecs become what backbones want, registered in ``CODECS``.

    Attributes:
        statistics: of a codec: mean and deviation, (C', 1, 1) each; None: the numbers
            ``shift_factor`` and ``scaling_factor`` of its config.
        fold: side of the blocks of latents that the statistics' channels C' are folded from.
        frames: pictures go in, and latents come out, with an axis of frames behind the channels.
    """

    statistics: Callable[[nn.Module], tuple[Tensor, Tensor]] | None = None
    fold: int = 1
    frames: bool = False


def scale_latents(codec: nn.Module, latents: Tensor) -> Tensor:
    """A codec's latents (B, C, h, w) as a backbone wants them: ``(z - mean) / deviation``.

    Raises:
        ValueError: a side of the latents cannot be folded.
    """
    facts = _facts(codec)
    if facts.statistics is None:
        return (latents - (codec.config.shift_factor or 0.0)) * codec.config.scaling_factor
    height, width = latents.shape[-2:]
    if height % facts.fold or width % facts.fold:
        raise ValueError(
            f"latents of {height}x{width} cannot be folded {facts.fold}x{facts.fold}: use even "
            "sizes"
        )
    mean, deviation = _statistics(codec, facts, latents)
    folded = F.pixel_unshuffle(latents, facts.fold)
    return F.pixel_shuffle((folded - mean) / deviation, facts.fold)


def unscale_latents(codec: nn.Module, latents: Tensor) -> Tensor:
    """Inverse of :func:`scale_latents`."""
    facts = _facts(codec)
    if facts.statistics is None:
        return latents / codec.config.scaling_factor + (codec.config.shift_factor or 0.0)
    mean, deviation = _statistics(codec, facts, latents)
    folded = F.pixel_unshuffle(latents, facts.fold)
    return F.pixel_shuffle(folded * deviation + mean, facts.fold)


def latent_shape(codec: nn.Module, size: Sequence[int]) -> tuple[int, int, int]:
    """(C, h, w) of the latents of a picture of ``size`` (height, width), by the codec's config."""
    config = codec.config
    if _facts(codec).frames:
        channels, stages = config.z_dim, config.dim_mult
    else:
        channels, stages = config.latent_channels, config.block_out_channels
    factor = 2 ** (len(stages) - 1)
    return channels, size[0] // factor, size[1] // factor


def _statistics(codec: nn.Module, facts: CodecFacts, like: Tensor) -> list[Tensor]:
    """Mean and deviation, as ``like`` is."""
    return [upload(value, like.device, like.dtype) for value in facts.statistics(_loaded(codec))]


def _loaded(codec: nn.Module) -> nn.Module:
    return codec._codec() if isinstance(codec, LazyCodec) else codec


def _facts(codec: nn.Module) -> CodecFacts:
    return CODECS.find(_loaded(codec)) or CodecFacts()


def _flux2_statistics(codec: nn.Module) -> tuple[Tensor, Tensor]:
    """Of each of the 4 C channels of 2 x 2 folded latents, in the order (c, row, column)."""
    variance = codec.bn.running_var.float() + codec.config.batch_norm_eps
    return codec.bn.running_mean.float()[:, None, None], variance.sqrt()[:, None, None]


def _channel_statistics(codec: nn.Module) -> tuple[Tensor, Tensor]:
    numbers = codec.config.latents_mean, codec.config.latents_std
    mean, deviation = (torch.tensor(each)[:, None, None] for each in numbers)
    return mean, deviation


CODECS.add(CodecFacts(_flux2_statistics, fold=2), "diffusers.AutoencoderKLFlux2")
CODECS.add(
    CodecFacts(_channel_statistics, frames=True),
    *("diffusers.AutoencoderKLQwenImage", "diffusers.AutoencoderKLWan"),
)


def own_precision(tensor: Tensor) -> AbstractContextManager:
    """Context without autocast where ``tensor`` lies: a codec computes in its weights' dtype."""
    if tensor.device.type == "meta":  # which has no autocast
        return nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)


def weights_dtype(module: nn.Module) -> torch.dtype:
    """Of a module's parameters; float32 for one without any."""
    return next((parameter.dtype for parameter in module.parameters()), torch.float32)
