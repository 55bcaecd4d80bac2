"""What travels between rooms: samples, correspondences, flows, stored matches, records."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention_record": ["AttentionRecord"],
        "correspondences": ["Correspondences", "unit_affine"],
        "flow_field": ["FlowField"],
        "match_store": ["MatchStore", "open_store"],
    },
)
