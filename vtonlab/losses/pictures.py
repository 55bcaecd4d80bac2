"""Losses between two pictures: the warped garment and the worn one, a drawn person and the true."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vtonlab.losses.weights import check_weight
from vtonlab.registry import LOSSES
from vtonlab.utils.bounded import read_torch

VGG19 = "vgg19-dcbb9e9d.pth"
ADDRESS = f"https://download.pytorch.org/models/{VGG19}"
TAPS = (1, 6, 11, 20, 29)  # relu1_1 to relu5_1 among torchvision's layers
TAP_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
OUTSIDE = ("white", "zeros")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@LOSSES.register_module()
class L1Loss(nn.Module):
    """Mean absolute difference over all pixels and channels of two pictures (B, 3, h, w).

    Args:
        weight: factor of the loss.
        masked: average inside the mask alone, each sample over its own. Outside it both pictures of
            a warped garment are white, so that a flow that leaves the garment pays little there.
    """

    def __init__(self, *, weight: float = 1.0, masked: bool = False) -> None:
        super().__init__()
        check_weight("weight", weight)
        self.weight, self.masked = weight, masked

    def forward(self, found: Tensor, wanted: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scalar, of pictures and a mask (B, 1, h, w) in [0, 1].

        Raises:
            ValueError: ``masked``, but there is no mask.
        """
        error = (found - wanted).abs()
        if not self.masked:
            return self.weight * error.mean()
        if mask is None:
            raise ValueError("L1Loss: masked=True, but these pictures have no mask")
        inside = (error.mean(1, keepdim=True) * mask).sum((1, 2, 3))
        return self.weight * (inside / mask.sum((1, 2, 3)).clamp(min=1)).mean()


@LOSSES.register_module()
class PerceptualLoss(nn.Module):
    """L1 between VGG19 features of two pictures: relu1_1 to relu5_1, weighted 1/32 ... 1
    (3D-GCL, METHODS.md 5.5).

    Args:
        weight: factor of the loss.
        masked: compare only inside the mask, where one is given: outside, both are ``outside``.
        outside: ``"white"``, or ``"zeros"`` (3D-GCL's program), a middle grey in [-1, 1].
        imagenet: normalise as VGG19 was trained; False gives it the pictures in [-1, 1] as they are
            (3D-GCL's program).
        path: torchvision's VGG19 weights, ``vgg19-dcbb9e9d.pth``, or the folder that holds them;
            None looks in torch hub's cache. Nothing is downloaded.

    Raises:
        FileNotFoundError: no weights there; says where they are published.
        ValueError: another ``outside``.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        masked: bool = True,
        outside: str = "white",
        imagenet: bool = True,
        path: str | Path | None = None,
    ) -> None:
        super().__init__()
        check_weight("weight", weight)
        if outside not in OUTSIDE:
            raise ValueError(f"PerceptualLoss: outside {outside!r} is none of {', '.join(OUTSIDE)}")
        self.weight, self.masked = weight, masked
        self.outside, self.imagenet = float(outside == "white"), imagenet
        self.slices = _vgg19_slices(_find(path))
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, found: Tensor, wanted: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scalar, of pictures (B, 3, h, w) in [-1, 1] and a mask (B, 1, h, w); the gradient goes to
        ``found`` alone.
        """
        if mask is not None and self.masked:
            ground = self.outside * (1 - mask)
            found, wanted = (picture * mask + ground for picture in (found, wanted))
        with torch.no_grad():
            targets = self.features(wanted)
        total = found.new_zeros(())
        for share, ours, theirs in zip(TAP_WEIGHTS, self.features(found), targets, strict=False):
            total = total + share * (ours - theirs).abs().mean()
        return self.weight * total

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Activations after the five taps, of pictures in [-1, 1]; fewer of tiny ones."""
        x, found = pictures, []
        if self.imagenet:
            x = ((pictures + 1) / 2 - self.mean) / self.std
        for part in self.slices:
            if min(x.shape[-2:]) < 2:
                break
            x = part(x)
            found.append(x)
        return found


def _find(path: str | Path | None) -> Path:
    asked = Path(torch.hub.get_dir()) / "checkpoints" if path is None else Path(path)
    file = asked / VGG19 if asked.is_dir() or path is None else asked
    if not file.is_file():
        raise FileNotFoundError(
            f"PerceptualLoss: no VGG19 weights at {file}; they are published at {ADDRESS}: set the "
            "loss's path (or --cfg-options pretrained=FILE), or take the loss out"
        )
    return file


def _vgg19_slices(path: Path) -> nn.ModuleList:
    """VGG19's convolutions up to relu5_1, cut after each tap."""
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["E"], batch_norm=False)[: TAPS[-1] + 1]
    weights = read_torch(path, lazy=True)
    layers.load_state_dict({key: weights[f"features.{key}"] for key in layers.state_dict()})
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # the taps are kept
    starts = (0, *(tap + 1 for tap in TAPS[:-1]))
    return nn.ModuleList(layers[a : b + 1] for a, b in zip(starts, TAPS, strict=True))
