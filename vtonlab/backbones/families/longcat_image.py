"""LongCat-Image and its editing model: FLUX's tokens, positions that go on where the text ends."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vtonlab.attention.layers import BlockTokens
from vtonlab.attention.layouts import TEXT_FIRST
from vtonlab.backbones.families.base import BackboneFamily, Reference, Text, whole
from vtonlab.ops.panels import pack_latents, place_ids, unpack_latents
from vtonlab.registry import ATTENTION_BLOCKS, FAMILIES
from vtonlab.utils.upload import upload

ATTENTION_BLOCKS.add(BlockTokens("joint", TEXT_FIRST), "diffusers.LongCatImageTransformerBlock")
ATTENTION_BLOCKS.add(
    BlockTokens("single", TEXT_FIRST), "diffusers.LongCatImageSingleTransformerBlock"
)


@FAMILIES.register("diffusers.LongCatImageTransformer2DModel")
class LongCatImageFamily(BackboneFamily):
    """On the first axis of positions stand text 0, the generated picture 1, references 2 and on
    (diffusers' pipeline shows one reference, at 2); rows and columns begin at the text's length.
    """

    pipeline = "LongCatImageEditPipeline"

    def references(
        self,
        backbone: nn.Module,
        noisy: Tensor,
        references: Sequence[Reference],
        sigmas: Tensor,
        text: Text,
        *,
        guidance_scale: float,
    ) -> Tensor:
        """As diffusers' ``LongCatImageEditPipeline`` calls it; there is no guidance embedding."""
        pictures = [Reference(noisy), *references]
        length = text.tokens.shape[1]
        places = [
            place_ids(each.latents.shape[-2:], number, scale=each.position_scale, start=length)
            for number, each in enumerate(pictures, start=1)
        ]
        text_ids = torch.zeros(length, 3)
        text_ids[:, 1:] = torch.arange(length)[:, None]
        output = backbone(
            hidden_states=torch.cat(
                [pack_latents(each.latents).to(noisy) for each in pictures], dim=1
            ),
            encoder_hidden_states=whole(text, "LongCat-Image").tokens,
            timestep=sigmas,
            img_ids=upload(torch.cat(places), noisy.device, torch.float64),
            txt_ids=upload(text_ids, noisy.device),
            return_dict=False,
        )[0]
        height, width = noisy.shape[-2:]
        return unpack_latents(output[:, : height * width // 4], height, width)
