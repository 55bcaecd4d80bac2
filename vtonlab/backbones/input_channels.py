"""Input channels of a pretrained network: as many as a conditioner feeds it."""

import torch
from torch import nn

from vtonlab.registry import FAMILIES


def fit_input_channels(network: nn.Module, channels: int) -> None:
    """Give the network's first convolution this number of input channels, in place.

    Known channels keep their weights in order, new ones start at zero (so the network answers as
    before), surplus ones are cut off; the bias is kept.

    Args:
        network: of a family with an ``input_layer``, such as ``UNet2DConditionModel``.
        channels: wanted number of input channels.

    Raises:
        ValueError: its family is not known, or has no input layer that can be fitted.
    """
    place = getattr(FAMILIES.find(network), "input_layer", None)
    if place is None:
        raise ValueError(
            f"{type(network).__name__} has no input layer that could take other channels: its "
            "family (vtonlab.registry.FAMILIES) names none"
        )
    old = network.get_submodule(place)
    if old.in_channels == channels:
        return
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,
        stride=old.stride,
        padding=old.padding,
        device=old.weight.device,
    ).to(old.weight.dtype)
    kept = min(channels, old.in_channels)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, :kept] = old.weight[:, :kept]
        new.bias.copy_(old.bias)
    parent, _, leaf = place.rpartition(".")
    setattr(network.get_submodule(parent), leaf, new)
    network.register_to_config(in_channels=channels)
