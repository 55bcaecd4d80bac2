"""Networks: those of diffusers by their own names, and the few it lacks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "codec": ["SpaceToDepthCodec"],
        "correspondence_network": ["CorrespondenceNetwork"],
        "flow_refinement": ["FlowRefinement"],
        "garment_token": ["GarmentTokenEncoder"],
        "linear_codec": ["LinearCodec"],
        "modulated_synthesis": ["SpatialStyleGenerator"],
        "pretrained": ["from_pretrained"],
        "residual_discriminator": ["ResidualDiscriminator"],
    },
)
