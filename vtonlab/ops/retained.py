"""What of a person's photograph a generator may see when the garment changes."""

import torch
import torch.nn.functional as F
from torch import Tensor

# LIP labels
HEAD = (1, 2, 13)  # hat, hair, face
BELOW = (8, 9, 12, 16, 17, 18, 19)  # socks, trousers, skirt, legs, shoes
ARMS = (14, 15)
PALMS = (3, 4)  # DensePose parts


def retained_mask(parse: Tensor, parts: Tensor) -> Tensor:
    """Head, lower body and palms (3D-GCL's release): 1 = kept, float (B, 1, H, W).

    Palms are arms within a pixel of DensePose's hands: neither neck nor bare arms stay.

    Args:
        parse: (B, H, W) LIP labels.
        parts: (B, H, W) DensePose parts, 0 to 24.
    """
    hands = torch.isin(parts, parts.new_tensor(PALMS))[:, None].float()
    near = F.max_pool2d(hands, 3, stride=1, padding=1) > 0  # (B, 1, H, W)
    arms = torch.isin(parse, parse.new_tensor(ARMS))[:, None]
    kept = torch.isin(parse, parse.new_tensor((*HEAD, *BELOW)))[:, None]
    return (kept | (arms & near)).float()
