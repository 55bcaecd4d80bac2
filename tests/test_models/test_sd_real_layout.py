"""The paper-scale configs of the UNet family the whole way, with tiny weights in the real folder
layout, and loading from folders and hub names.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "test_conditioners"))
from small_data import without_validation
from small_unet import CLIP, save_small_sd

from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.training import train
from vtonlab.registry import BACKBONES, MODELS

ROOT = Path(__file__).parents[2]
SIZE = (64, 48)  # the tiny VAE halves: latents 32x24
FULL_GRIDS = (128, 96)  # latents 64x48, grids as at 512x384
PATHS = ("configs/stableviton/unet_vitonhd.py", "configs/sift_vton/unet_vitonhd.py")


def tiny_config(path: str, sd: Path, work_dir: Path):
    """A shipped config; only sizes, paths and the data set differ."""
    config = load_config(ROOT / path)
    size = FULL_GRIDS if "_atv" in path else SIZE
    config.pretrained = str(sd)
    config.load_from = None
    config.model.update(size=size)
    if config.model.type == "TryOnDiffusion":
        config.model.conditioner.num_heads = 2
        config.model.sampler.num_steps = 2
    dataset = dict(type="SyntheticTryOn", size=size, length=4, categories=["upper_body"])
    config.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    config.train_dataloader["dataset"] = dataset
    config.test_dataloader["num_workers"] = 0
    config.test_dataloader["dataset"] = dict(dataset, split="test", length=2)
    config.train_cfg.max_iters = 2
    config.optim_wrapper.accumulative_counts = 1
    config.default_hooks.checkpoint.interval = 2
    return finalize(without_validation(config), work_dir=str(work_dir / "run"))


@pytest.fixture(scope="module")
def sd(tmp_path_factory) -> Path:
    return save_small_sd(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module", params=PATHS)
def trained(request, sd, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("work")
    config = tiny_config(request.param, sd, work_dir)
    return request.param, train(config), work_dir


def test_checkpoints_hold_what_was_trained(trained):
    """And what an earlier stage may have: the token's projection and the learned vector."""
    path, runner, work_dir = trained
    saved = set(torch.load(work_dir / "run/iter_2.pth", weights_only=True)["state_dict"])
    names = {name for name, p in runner.bare_model.named_parameters() if p.requires_grad}
    token = {f"conditioner.image_encoder.{n}" for n in ("proj_out.weight", "uncond_vector")}
    assert saved == names | token | {"conditioner.image_encoder.proj_out.bias"}
    assert (token <= names) == ("stableviton" in path)
    assert ("backbone.conv_in.weight" in saved) == ("sift_vton" in path)


ATV = "configs/stableviton/unet_vitonhd_atv.py"


@pytest.mark.parametrize("next_path", [PATHS[1], pytest.param(ATV, marks=pytest.mark.slow)])
def test_the_next_stage_starts_from_the_last(next_path, trained, sd, tmp_path):
    """SIFT-VTON from StableVITON's file, and the total-variation stage from it too."""
    path, runner, work_dir = trained
    if "stableviton" not in path:
        pytest.skip("stages go on from StableVITON")
    config = tiny_config(next_path, sd, tmp_path)
    config.load_from = str(work_dir / "run/model.safetensors")
    config.load_other_size = True  # only here: the two tiny models differ in picture size
    config.optim_wrapper.optimizer.lr = 0.0
    if "sift_vton" in next_path:
        config.partial_load = ["backbone."]
    started = train(config).bare_model.state_dict()
    for name, value in runner.bare_model.state_dict().items():
        assert torch.equal(started[name], value), name


def test_it_samples_after_loading(trained, sd, tmp_path):
    from vtonlab.engine.testing.run import test

    path, _, work_dir = trained
    config = tiny_config(path, sd, tmp_path)
    results = test(config, str(work_dir / "run/iter_2.pth"), tmp_path / "test")
    assert np.isfinite(results["metrics"]["l1_inside"]) and results["images"] == 2


def test_all_parts_come_from_the_folder(sd, tmp_path):
    config = tiny_config(PATHS[0], sd, tmp_path)
    model = MODELS.build(config.model.to_dict())
    for part, folder, cls in (
        (model.codec, "vae", "AutoencoderKL"),
        (model.conditioner.image_encoder, "image_encoder", "GarmentTokenEncoder"),
    ):
        loaded = BACKBONES.build(
            dict(type="from_pretrained", cls=cls, path=str(sd), subfolder=folder)
        )
        for key, value in loaded.state_dict().items():
            assert torch.equal(part.state_dict()[key], value), key
    unet = BACKBONES.build(
        dict(type="from_pretrained", cls="UNet2DConditionModel", path=str(sd), subfolder="unet")
    )
    assert model.backbone.config.in_channels == 13 and unet.config.in_channels == 9
    assert torch.equal(model.backbone.conv_in.weight[:, :9], unet.conv_in.weight)


def test_plain_clip_leaves_mapper_and_projection_new(tmp_path):
    """A CLIP folder of transformers, both of its key layouts."""
    from safetensors.torch import load_file, save_file
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {k: v for k, v in CLIP.items() if k != "type"}
    CLIPVisionModel(CLIPVisionConfig(**sizes)).save_pretrained(tmp_path)
    cfg = dict(type="from_pretrained", cls="GarmentTokenEncoder", path=str(tmp_path))
    state = load_file(tmp_path / "model.safetensors")
    one = BACKBONES.build(cfg)
    renamed = {f"vision_model.{k.removeprefix('vision_model.')}": v for k, v in state.items()}
    save_file(renamed | {"text_model.final_layer_norm.bias": torch.zeros(3)}, tmp_path / "x")
    (tmp_path / "x").replace(tmp_path / "model.safetensors")
    two = BACKBONES.build(cfg)
    fresh = BACKBONES.build(CLIP)
    for key, value in one.state_dict().items():
        assert torch.equal(two.state_dict()[key], value), key
        same = torch.equal(fresh.state_dict()[key], value)
        if key.endswith("patch_embedding.weight"):
            assert not same
        if key.startswith(("mapper.", "proj_out.")):
            assert same, key


@pytest.mark.parametrize("cls", ["GarmentTokenEncoder", "UNet2DConditionModel", "AutoencoderKL"])
@pytest.mark.parametrize("path", ["some-org/no-such-model", "empty"])
def test_missing_weights_are_one_sentence(cls, path, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    where = str(tmp_path) if path == "empty" else path
    with pytest.raises(FileNotFoundError) as caught:
        BACKBONES.build(dict(type="from_pretrained", cls=cls, path=where, subfolder="part"))
    text = str(caught.value)
    assert "\n" not in text and where in text and "diffusers layout" in text


def test_weights_that_do_not_fit_are_one_sentence(sd, tmp_path):
    BACKBONES.build(CLIP | dict(num_hidden_layers=6)).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((sd / "image_encoder/config.json").read_text())
    with pytest.raises(FileNotFoundError, match="left over"):
        BACKBONES.build(dict(type="from_pretrained", cls="GarmentTokenEncoder", path=str(tmp_path)))
