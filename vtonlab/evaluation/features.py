"""Networks that turn a picture into one vector: two Inceptions for FID and KID, CLIP, DINO.

A vector depends on the picture alone (each goes through the network by itself), and is kept: FID
and KID of one protocol ask the same network once.
"""

import hashlib
from functools import lru_cache

import numpy as np
import torch
from mmengine.device import get_device
from torch import nn

from vtonlab.evaluation.base import NotComputableError
from vtonlab.evaluation.weights import Weights, find_model, find_weights, only_local
from vtonlab.utils.bounded import read_torch

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KEPT = 20_000  # vectors; 2048 floats each are 160 MB


class Features:
    """Base class: ``features(picture)`` is the vector of an (H, W, 3) uint8 picture.

    ``name`` says network and resize; ``weights`` the file, once it is loaded.
    """

    name = ""

    def __init__(self) -> None:
        self.network: nn.Module | None = None
        self.weights: Weights | None = None
        self._kept: dict[bytes, np.ndarray] = {}

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        key = hashlib.blake2b(np.ascontiguousarray(picture), digest_size=16)
        key.update(repr(picture.shape).encode())
        if key.digest() not in self._kept:
            if self.network is None:
                self.network = self.load().to(get_device()).eval()
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            with torch.inference_mode():
                vector = self.embed(self.prepare(picture).to(get_device()))
            self._kept[key.digest()] = vector.reshape(-1).float().cpu().numpy()
        return self._kept[key.digest()]

    def load(self) -> nn.Module:
        raise NotImplementedError

    def prepare(self, picture: np.ndarray) -> torch.Tensor:
        """(1, 3, h, w) float32, what the network wants."""
        raise NotImplementedError

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """(1, D)"""
        return self.network(pixels)


class CleanInception(Features):
    """clean-fid's: StyleGAN's TorchScript Inception on Pillow's bicubic 299x299, not rounded."""

    name = "clean-fid Inception (bicubic 299, antialiased)"
    file = "inception-2015-12-05.pt"
    mode = "clean"

    def __init__(self) -> None:
        super().__init__()
        from cleanfid.resize import build_resizer

        self.resize = build_resizer(self.mode)

    def load(self) -> nn.Module:
        from cleanfid.inception_torchscript import InceptionV3W

        self.weights = find_weights(self.file)
        return InceptionV3W(str(self.weights.path.parent), download=False, resize_inside=False)

    def prepare(self, picture: np.ndarray) -> torch.Tensor:
        resized = np.array(self.resize(np.array(picture)), dtype=np.float32)
        return torch.from_numpy(resized).permute(2, 0, 1)[None]


class PytorchFIDInception(CleanInception):
    """pytorch-fid's: the ported weights on torch's bilinear 299x299 without antialiasing."""

    name = "pytorch-fid Inception (bilinear 299, aliased)"
    file = "pt_inception-2015-12-05-6726825d.pth"
    mode = "legacy_pytorch"

    def load(self) -> nn.Module:
        self.weights = find_weights(self.file)
        state = read_torch(self.weights.path)
        return fid_inception(state)

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(2 * (pixels / 255) - 1)


def fid_inception(state: dict | None = None) -> nn.Module:
    """pytorch-fid's Inception up to its 2048 features, with ``state`` or random weights.

    torchvision's Inception with the blocks that clean-fid ships for it; clean-fid's own builder
    can only download the weights.
    """
    from cleanfid import inception_pytorch as blocks
    from torchvision.models import inception_v3

    network = inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    for name, channels in (("5b", (192, 32)), ("5c", (256, 64)), ("5d", (288, 64))):
        setattr(network, f"Mixed_{name}", blocks.FIDInceptionA(*channels))
    for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        setattr(network, f"Mixed_{name}", blocks.FIDInceptionC(768, channels_7x7=width))
    network.Mixed_7b = blocks.FIDInceptionE_1(1280)
    network.Mixed_7c = blocks.FIDInceptionE_2(2048)
    if state is not None:
        network.load_state_dict(state)
    network.fc = nn.Identity()
    return network


class HubFeatures(Features):
    """A transformers vision model, from the weights folder, the local cache or the hub."""

    model = ""

    def load(self) -> nn.Module:
        try:
            return self.open(find_model(self.model))
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise NotComputableError(
                f"{self.model} cannot be loaded ({reason}); --weights may name a folder that "
                f"holds {self.model.rsplit('/', 1)[-1]}/"
            ) from None

    def open(self, place: str) -> nn.Module:
        raise NotImplementedError


class ClipFeatures(HubFeatures):
    """CLIP's image embedding, on the short side resized to 224 and the centre cropped, as clean-fid
    does it.
    """

    model = "openai/clip-vit-base-patch32"
    name = "CLIP ViT-B/32 (bicubic 224, centre crop)"

    def open(self, place: str) -> nn.Module:
        from transformers import CLIPVisionModelWithProjection

        return CLIPVisionModelWithProjection.from_pretrained(
            place, local_files_only=only_local(place)
        )

    def prepare(self, picture: np.ndarray) -> torch.Tensor:
        return _short_side(picture, self._side(), _CLIP_MEAN, _CLIP_STD)

    def _side(self) -> int:
        return self.network.config.image_size

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=pixels).image_embeds


class DinoFeatures(HubFeatures):
    """DINOv2's class token, on the short side resized to 224 and the centre cropped."""

    model = "facebook/dinov2-base"
    name = "DINOv2 ViT-B/14 class token (bicubic 224, centre crop)"

    def open(self, place: str) -> nn.Module:
        from transformers import AutoModel

        return AutoModel.from_pretrained(place, local_files_only=only_local(place))

    def prepare(self, picture: np.ndarray) -> torch.Tensor:
        return _short_side(picture, 224, _IMAGENET_MEAN, _IMAGENET_STD)

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=pixels).last_hidden_state[:, 0]


def _short_side(picture: np.ndarray, side: int, mean, std) -> torch.Tensor:
    from vtonlab.ops.resize import resize_picture

    height, width = picture.shape[:2]
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    resized = resize_picture(np.array(picture), size)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    crop = torch.from_numpy(resized[top : top + side, left : left + side].copy())
    pixels = crop.permute(2, 0, 1)[None].float() / 255
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


KINDS = {
    "clean-fid": CleanInception,
    "pytorch-fid": PytorchFIDInception,
    "clip": ClipFeatures,
    "dino": DinoFeatures,
}


@lru_cache(maxsize=8)
def _shared(kind: str, folder: str) -> Features:
    return KINDS[kind]()


def shared_features(kind: str) -> Features:
    """The one network of a kind in this process (and for the weights folder set now).

    Raises:
        ValueError: an unknown kind.
    """
    from vtonlab.evaluation.weights import weights_folder

    if kind not in KINDS:
        raise ValueError(f"features must be one of {', '.join(KINDS)}, not {kind!r}")
    return _shared(kind, str(weights_folder()))
