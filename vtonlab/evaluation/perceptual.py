"""LPIPS, torchmetrics' implementation; three trunks, three scales that must not be mixed."""

import re
from functools import lru_cache

import numpy as np
import torch
from mmengine.device import get_device

from vtonlab.evaluation.base import PairMetric, unit
from vtonlab.evaluation.weights import Weights, find_weights
from vtonlab.registry import METRICS
from vtonlab.utils.bounded import read_torch

TRUNKS = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


@METRICS.register_module()
class LPIPS(PairMetric):
    """Learned perceptual distance (v0.1, linear heads of torchmetrics), mean over pictures.

    The number is called ``lpips_<net>``: AlexNet, VGG and SqueezeNet give three different scales,
    and published tables use all of them under one name.

    Args:
        net: ``"alex"``, ``"vgg"`` or ``"squeeze"``.

    Raises:
        ValueError: an unknown net.
        NotComputableError: the trunk's weights cannot be had.
    """

    def __init__(self, *, net: str = "alex", collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device)
        if net not in TRUNKS:
            raise ValueError(f"LPIPS: net must be one of {', '.join(TRUNKS)}, not {net!r}")
        self.net, self.names = net, (f"lpips_{net}",)
        self.directions = {f"lpips_{net}": "down"}
        self.network = None
        self.weights: Weights | None = None

    def describe(self) -> str:
        return f"LPIPS torchmetrics {self.net}, [0, 1] pictures"

    def score(self, sample: dict) -> dict[str, float]:
        if self.network is None:
            self.weights = find_weights(TRUNKS[self.net])
            self.network = build_lpips(self.net, self.weights).to(get_device())
        device = get_device()
        image, target = unit(sample["image"], device), unit(sample["target"], device)
        with torch.no_grad():
            value = self.network(image, target, normalize=True)
        return {self.names[0]: value.item()}


@METRICS.register_module()
class WarpedGarmentLPIPS(LPIPS):
    """LPIPS of the warped garment and the worn one, each on white (3D-GCL's tables of warps).

    Needs ``warped_mask`` of a model that warps, and ``worn_mask`` of the data (paired). The garment
    is that of ``warped``, or of ``image`` for a model that does nothing else.

    Args:
        net: as for `LPIPS`; the paper does not say which.
    """

    needs = ("image", "target", "warped_mask", "worn_mask")

    def __init__(self, *, net: str = "alex", collect_device: str = "cpu") -> None:
        super().__init__(net=net, collect_device=collect_device)
        self.names = (f"warp_lpips_{net}",)
        self.directions = {self.names[0]: "down"}

    def describe(self) -> str:
        return f"{super().describe()}, garments on white"

    def score(self, sample: dict) -> dict[str, float]:
        found = sample.get("warped", sample["image"])
        pictures = (("image", found, "warped_mask"), ("target", sample["target"], "worn_mask"))
        white = np.uint8(255)
        return super().score(
            {
                key: np.where(sample[mask].astype(bool)[..., None], picture, white)
                for key, picture, mask in pictures
            }
        )


@lru_cache(maxsize=3)  # of this process: two protocols ask for one
def build_lpips(net: str, weights: Weights) -> torch.nn.Module:
    """torchmetrics' network with a trunk from a local torchvision state dict.

    Its public class can only download the trunk, hence the private one (1.9).
    """
    from torchmetrics.functional.image.lpips import _LPIPS

    network = _LPIPS(pretrained=True, net=net, pnet_rand=True, eval_mode=True)
    trunk = read_torch(weights.path)
    place = re.compile(r"^(slice\d+|slices\.\d+)\.")
    own = {key: trunk[f"features.{place.sub('', key)}"] for key in network.net.state_dict()}
    network.net.load_state_dict(own)
    return network.eval().requires_grad_(False)
