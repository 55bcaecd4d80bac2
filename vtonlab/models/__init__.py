"""Whole systems."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "autoencoder_finetune": ["AutoencoderFinetune"],
        "data_preprocessor": ["TryOnDataPreprocessor"],
        "try_on_diffusion": ["TryOnDiffusion"],
        "try_on_synthesis": ["TryOnSynthesis"],
        "try_on_warping": ["TryOnWarping"],
    },
)
