"""Latents drawn from a VAE's posterior, as the published programs encode their pictures."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vtonlab.backbones.codec import scale_latents, weights_dtype

POSTERIORS = ("mode", "sample")


class SampledEncoder:
    """Called like the encoder: ``mean + std * noise`` of the posterior, scaled.

    Args:
        codec: with ``encode(pictures).latent_dist``.
        generators: one for each sample of a batch; each draws for its own pictures.
    """

    def __init__(self, codec: nn.Module, generators: Sequence[torch.Generator]) -> None:
        self.codec, self.generators = codec, list(generators)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures (K * B, 3, H, W) in [-1, 1], sample by sample within each of the K."""
        posterior = self.codec.encode(pictures.to(weights_dtype(self.codec))).latent_dist
        mean = posterior.mean.float()
        noise = draw_noise(mean, self.generators * (len(mean) // len(self.generators)))
        return scale_latents(self.codec, mean + posterior.std.float() * noise)


def draw_noise(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal noise of the shape and place of ``like`` (B, ...), each sample from its own
    generator.
    """
    drawn = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
    return torch.stack(drawn).to(like)
