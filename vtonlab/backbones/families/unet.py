"""UNets of Stable Diffusion (1.5, XL, Paint-by-Example)."""

from torch import Tensor

from vtonlab.backbones.families.base import BackboneFamily
from vtonlab.registry import FAMILIES


@FAMILIES.register("diffusers.UNet2DConditionModel")
class UNetFamily(BackboneFamily):
    """Noise levels are timesteps, 0 to 1000."""

    input_layer = "conv_in"

    def unet(self, backbone, streams, sigmas, text, attention_kwargs=None) -> Tensor:
        """One call; ``attention_kwargs`` reach the attention processors."""
        return backbone(
            streams,
            sigmas * 1000.0,
            encoder_hidden_states=text,
            cross_attention_kwargs=attention_kwargs,
            return_dict=False,
        )[0]
