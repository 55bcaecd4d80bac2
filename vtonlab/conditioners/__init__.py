"""How the garment enters a backbone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Conditioner", "Prediction"],
        "full_3d_attention": ["Full3DAttentionConditioner"],
        "pair_prompts": ["PairPrompt"],
        "prompts": ["CachedPrompt", "NullPrompt"],
        "reference_tokens": ["ReferenceTokensConditioner"],
        "spatial_concat": ["SpatialConcatConditioner"],
        "zero_cross_attention": ["ZeroCrossAttentionConditioner"],
    },
)
