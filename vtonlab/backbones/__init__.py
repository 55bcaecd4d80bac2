"""Networks: those of diffusers by their own names, and the few it lacks."""

from vtonlab.backbones.codec import SpaceToDepthCodec
from vtonlab.backbones.correspondence_network import CorrespondenceNetwork
from vtonlab.backbones.flow_refinement import FlowRefinement
from vtonlab.backbones.garment_token import GarmentTokenEncoder
from vtonlab.backbones.modulated_synthesis import SpatialStyleGenerator
from vtonlab.backbones.pretrained import from_pretrained
from vtonlab.backbones.residual_discriminator import ResidualDiscriminator

__all__ = [
    "CorrespondenceNetwork",
    "FlowRefinement",
    "GarmentTokenEncoder",
    "ResidualDiscriminator",
    "SpaceToDepthCodec",
    "SpatialStyleGenerator",
    "from_pretrained",
]
