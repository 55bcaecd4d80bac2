"""External person-to-garment correspondence, computed before training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Matcher"],
        "dino": ["DINOv3Matcher"],
        "report": ["MatchReport"],
        "sift": ["SIFTMatcher"],
        "smpl_flow": ["SMPLFlowMatcher"],
    },
)
