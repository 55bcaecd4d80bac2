"""How the garment enters a backbone."""

from vtonlab.conditioners.base import Conditioner, Prediction
from vtonlab.conditioners.full_3d_attention import Full3DAttentionConditioner
from vtonlab.conditioners.prompts import CachedPrompt, NullPrompt
from vtonlab.conditioners.reference_tokens import ReferenceTokensConditioner
from vtonlab.conditioners.spatial_concat import SpatialConcatConditioner
from vtonlab.conditioners.zero_cross_attention import ZeroCrossAttentionConditioner

__all__ = [
    "CachedPrompt",
    "Conditioner",
    "Full3DAttentionConditioner",
    "NullPrompt",
    "Prediction",
    "ReferenceTokensConditioner",
    "SpatialConcatConditioner",
    "ZeroCrossAttentionConditioner",
]
