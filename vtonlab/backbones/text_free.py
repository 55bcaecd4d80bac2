"""UNets whose cross-attention was taken out, in the form that plain diffusers can build.

``UNet2DConditionModel`` builds its blocks with cross-attention, whatever its config says. So a
saved one gets stand-ins that add exactly nothing: their output layer is zero, and text is one
number wide. Whoever loads the folder may take them out again.
"""

import torch
from torch import Tensor, nn

WIDTH = 1  # of the text that nobody reads


def stand_ins(network: nn.Module) -> dict[str, Tensor]:
    """Tensors that the state of ``network`` lacks beside diffusers' own; empty for one that lacks
    none.
    """
    from diffusers.models.attention import BasicTransformerBlock

    found: dict[str, Tensor] = {}
    for name, block in network.named_modules():
        if not isinstance(block, BasicTransformerBlock) or block.attn2 is not None:
            continue
        like, inner = block.norm1.weight, block.attn1.inner_dim
        width = like.shape[0]
        shapes = {
            "attn2.to_q.weight": (inner, width),
            "attn2.to_k.weight": (inner, WIDTH),
            "attn2.to_v.weight": (inner, WIDTH),
            "attn2.to_out.0.weight": (width, inner),
            "attn2.to_out.0.bias": (width,),
            "norm2.bias": (width,),
        }
        found |= {f"{name}.{key}": like.new_zeros(shape) for key, shape in shapes.items()}
        found[f"{name}.norm2.weight"] = torch.ones_like(like.detach())
    return found
