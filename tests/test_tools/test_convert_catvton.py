"""CatVTON's attention files: numbered modules, with and without second names, both ways."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tools/convert"))
import catvton as converter

UNET = dict(
    in_channels=9,
    block_out_channels=(8, 16),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    norm_num_groups=4,
    attention_head_dim=2,
    cross_attention_dim=12,
)


@pytest.fixture
def theirs():
    """Each module whose name holds "attn1", numbered, as the release lists them."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(**UNET)
    for _, part in list(unet.named_modules()):
        if hasattr(part, "attn1"):
            part.attn1.processor = torch.nn.Identity()  # the release's is a module, and counts
    listed = torch.nn.ModuleList(m for name, m in unet.named_modules() if "attn1" in name)
    return dict(listed.state_dict())


def arguments(source, target, back=False):
    return argparse.Namespace(source=source, target=target, back=back)


def save(state, path):
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True)
    save_file({key: value.clone() for key, value in state.items()}, path)


def test_published_sizes():
    unet = converter.build_unet()
    found = converter.attentions(unet)
    assert len(found) == 16 and 16 * len(converter.PARTS) == 80
    total = sum(p.numel() for part in found.values() for p in part.parameters())
    assert total == 49_574_080  # the paper's 49.57 M


def test_all_names_or_those_that_accelerate_keeps(theirs):
    unet = converter.build_unet(UNET)
    kept = {key: value for key, value in theirs.items() if "to_" in key}
    ours = converter.forward(kept, unet)
    assert len(kept) == len(ours) == 5 * len(converter.attentions(unet)) < len(theirs)
    both = converter.forward(theirs, unet)
    assert both.keys() == ours.keys() and all(torch.equal(both[k], ours[k]) for k in ours)
    again = converter.backward(ours, unet)
    assert again.keys() == kept.keys() and all(torch.equal(again[k], kept[k]) for k in kept)


def test_a_published_folder_becomes_a_checkpoint_of_the_config(theirs, tmp_path):
    from vtonlab.engine.checkpoints.files import read_checkpoint
    from vtonlab.models import TryOnDiffusion

    source = tmp_path / "vitonhd-16k-512"
    save(theirs, source / "attention/model.safetensors")
    target = tmp_path / "ours.safetensors"
    said = converter.run(arguments(source, target), UNET)
    assert said.count("self-check") == 3
    checkpoint = read_checkpoint(target)
    model = TryOnDiffusion(
        size=(32, 24),
        categories=["upper_body"],
        backbone=dict(type="UNet2DConditionModel", **UNET),
        codec=dict(type="SpaceToDepthCodec"),
        conditioner=dict(
            type="SpatialConcatConditioner", reference="self", inputs=["mask", "agnostic"]
        ),
        trainable=["*.attn1.*"],
        noise_schedule=dict(type="DDPMSchedule"),
        sampler=dict(type="DDIMSampler"),
    )
    facts = checkpoint["meta"]["facts"]
    assert {key: model.checkpoint_meta()[key] for key in facts} == facts
    assert checkpoint["meta"]["as_released"] is True
    model.load_state_dict(checkpoint["state_dict"], strict=True)
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    assert torch.equal(model.backbone.get_parameter(name), theirs["0.to_q.weight"])
    converter.run(arguments(target, tmp_path / "again.safetensors", back=True), UNET)
    again = converter.read(tmp_path / "again.safetensors")
    assert all(torch.equal(again[key], theirs[key]) for key in again)


def test_bad_input_is_named(theirs, tmp_path):
    unet = converter.build_unet(UNET)
    with pytest.raises(ValueError, match=r"'6\.weight' has no place"):
        converter.forward({**theirs, "6.weight": torch.zeros(1)}, unet)
    with pytest.raises(ValueError, match="different numbers"):
        converter.forward({**theirs, "1.weight": theirs["1.weight"] + 1}, unet)
    with pytest.raises(ValueError, match=r"lacks .*to_v\.weight"):
        short = {k: v for k, v in theirs.items() if k not in ("0.to_v.weight", "3.weight")}
        converter.forward(short, unet)
    with pytest.raises(ValueError, match=r"is \(3, 3\), the UNet's"):
        kept = {key: value for key, value in theirs.items() if "to_" in key}
        converter.forward({**kept, "0.to_q.weight": torch.zeros(3, 3)}, unet)
    with pytest.raises(FileNotFoundError, match="mix-48k-1024, vitonhd"):
        converter.run(arguments(tmp_path, tmp_path / "x.safetensors"), UNET)
    (tmp_path / "mix-48k-1024").mkdir()
    with pytest.raises(ValueError, match="holds mix-48k-1024: give one"):
        converter.run(arguments(tmp_path, tmp_path / "x.safetensors"), UNET)
    broken = {key: value * torch.nan for key, value in theirs.items() if "to_" in key}
    with pytest.raises(ValueError, match="not finite"):
        converter.check(converter.forward(broken, unet), unet)
