"""Input channels of a pretrained UNet: as many as a conditioner feeds it."""

import torch
from torch import nn


def fit_input_channels(unet: nn.Module, channels: int) -> None:
    """Give ``unet.conv_in`` this number of input channels, in place.

    Known channels keep their weights in order, new ones start at zero (so the network answers as
    before), surplus ones are cut off; the bias is kept.

    Args:
        unet: diffusers' ``UNet2DConditionModel``.
        channels: wanted number of input channels.
    """
    old = unet.conv_in
    if old.in_channels == channels:
        return
    new = nn.Conv2d(
        channels, old.out_channels, old.kernel_size, padding=old.padding, device=old.weight.device
    ).to(old.weight.dtype)
    kept = min(channels, old.in_channels)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, :kept] = old.weight[:, :kept]
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)
