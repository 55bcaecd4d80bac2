"""What travels between rooms: samples, correspondences, flows, stored matches, records."""

from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Correspondences, unit_affine
from vtonlab.structures.flow_field import FlowField
from vtonlab.structures.match_store import MatchStore, open_store

__all__ = [
    "AttentionRecord",
    "Correspondences",
    "FlowField",
    "MatchStore",
    "open_store",
    "unit_affine",
]
