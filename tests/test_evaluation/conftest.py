"""Metric networks with random weights, saved under their official names."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # rendered.py, under --import-mode=importlib
sys.path.insert(0, str(Path(__file__).parents[1]))  # small_vitonhd.py


class TinyInception(nn.Module):
    """What clean-fid's loader expects of the TorchScript file: ``layers`` gives 2048 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 7, 7), nn.ReLU(), nn.Conv2d(16, 32, 3, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 2048),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def save_trunks(folder: Path) -> None:
    from torchvision import models

    for name, features in (
        ("alexnet-owt-7be5be79.pth", models.alexnet().features),
        ("vgg16-397923af.pth", models.vgg.make_layers(models.vgg.cfgs["D"])),
        ("squeezenet1_1-b8a52dc0.pth", models.squeezenet1_1().features),
    ):
        state = features.state_dict()
        torch.save({f"features.{key}": value for key, value in state.items()}, folder / name)


def save_hub_models(folder: Path) -> None:
    from transformers import (
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
        Dinov2Config,
        Dinov2Model,
    )

    small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    clip = CLIPVisionConfig(
        **small, intermediate_size=16, image_size=32, patch_size=8, projection_dim=8
    )
    CLIPVisionModelWithProjection(clip).save_pretrained(folder / "clip-vit-base-patch32")
    dino = Dinov2Config(**small, mlp_ratio=1, image_size=28, patch_size=14)
    Dinov2Model(dino).save_pretrained(folder / "dinov2-base")


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory) -> Path:
    """Random weights of every metric network but pytorch-fid's Inception (slow to build)."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_trunks(folder)
    save_hub_models(folder)
    torch.jit.script(TinyInception()).save(str(folder / "inception-2015-12-05.pt"))
    return folder


@pytest.fixture
def weights(weights_folder, monkeypatch) -> Path:
    """The random weights are those that metrics find."""
    monkeypatch.setenv("VTONLAB_METRIC_WEIGHTS", str(weights_folder))
    return weights_folder


@pytest.fixture
def pytorch_fid_weights(weights):
    """The full-size Inception with random weights, too."""
    from vtonlab.evaluation.features import fid_inception

    state = fid_inception().state_dict()
    state |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    path = weights / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(state, path)
    yield
    path.unlink()


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """Neither a folder nor torch hub's cache has any weights, and nothing may be downloaded."""
    monkeypatch.delenv("VTONLAB_METRIC_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
