"""What travels between rooms: samples, correspondences, flows, stored matches, records."""

from vtonlab.structures.correspondences import Correspondences, unit_affine
from vtonlab.structures.flow_field import FlowField

__all__ = ["Correspondences", "FlowField", "unit_affine"]
