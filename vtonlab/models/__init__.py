"""Whole systems."""

from vtonlab.models.autoencoder_finetune import AutoencoderFinetune
from vtonlab.models.data_preprocessor import TryOnDataPreprocessor
from vtonlab.models.try_on_diffusion import TryOnDiffusion
from vtonlab.models.try_on_synthesis import TryOnSynthesis
from vtonlab.models.try_on_warping import TryOnWarping

__all__ = [
    "AutoencoderFinetune",
    "TryOnDataPreprocessor",
    "TryOnDiffusion",
    "TryOnSynthesis",
    "TryOnWarping",
]
