"""CORAL's transformer, key for key, both ways."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "test_models"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tools/convert"))
import coral as converter
from flux_folder import save_tiny_flux

WIDTH, HEAD = 3072, 128


def linear(name: str, out: int, into: int) -> dict[str, tuple]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def flux_fill() -> dict[str, tuple]:
    """Keys and shapes of FLUX.1-Fill, written out from METHODS.md 1.2, without diffusers."""
    keys = linear("x_embedder", WIDTH, 64 + 64 + 256) | linear("context_embedder", WIDTH, 4096)
    for name, into in (("timestep", 256), ("guidance", 256), ("text", 768)):
        keys |= linear(f"time_text_embed.{name}_embedder.linear_1", WIDTH, into)
        keys |= linear(f"time_text_embed.{name}_embedder.linear_2", WIDTH, WIDTH)
    for number in range(19):
        block = f"transformer_blocks.{number}"
        for norm in ("norm1", "norm1_context"):
            keys |= linear(f"{block}.{norm}.linear", 6 * WIDTH, WIDTH)
        for layer in ("to_q", "to_k", "to_v", "to_out.0", "to_add_out"):
            keys |= linear(f"{block}.attn.{layer}", WIDTH, WIDTH)
        for letter in "qkv":
            keys |= linear(f"{block}.attn.add_{letter}_proj", WIDTH, WIDTH)
        for norm in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            keys[f"{block}.attn.{norm}.weight"] = (HEAD,)
        for part in ("ff", "ff_context"):
            keys |= linear(f"{block}.{part}.net.0.proj", 4 * WIDTH, WIDTH)
            keys |= linear(f"{block}.{part}.net.2", WIDTH, 4 * WIDTH)
    for number in range(38):
        block = f"single_transformer_blocks.{number}"
        keys |= linear(f"{block}.norm.linear", 3 * WIDTH, WIDTH)
        keys |= linear(f"{block}.proj_mlp", 4 * WIDTH, WIDTH)
        keys |= linear(f"{block}.proj_out", WIDTH, 5 * WIDTH)
        for layer in ("to_q", "to_k", "to_v"):
            keys |= linear(f"{block}.attn.{layer}", WIDTH, WIDTH)
        for norm in ("norm_q", "norm_k"):
            keys[f"{block}.attn.{norm}.weight"] = (HEAD,)
    return keys | linear("norm_out.linear", 2 * WIDTH, WIDTH) | linear("proj_out", 64, WIDTH)


def test_published_sizes_key_for_key():
    """No key is left over and every shape fits, at the real size (without the numbers)."""
    expected = flux_fill()
    theirs = {key: torch.empty(shape, device="meta") for key, shape in expected.items()}
    backbone = converter.build_backbone()
    ours = converter.forward(theirs, backbone)
    assert len(ours) == len(expected) == 1160
    again = converter.backward(ours, backbone)
    assert {key: tuple(value.shape) for key, value in again.items()} == expected


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A tiny FLUX in the release's layout."""
    return save_tiny_flux(tmp_path_factory.mktemp("coral"))


@pytest.fixture(scope="module")
def sizes(release):
    from diffusers import FluxTransformer2DModel

    return dict(FluxTransformer2DModel.load_config(release, subfolder="transformer"))


def arguments(source, target, **others):
    settings = dict(weights="vitonhd", back=False, base=None) | others
    return argparse.Namespace(source=source, target=target, **settings)


def clean(sizes: dict) -> dict:
    return {key: value for key, value in sizes.items() if not key.startswith("_")}


def test_round_trip_through_files_and_shards(release, sizes, tmp_path):
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel.from_pretrained(release, subfolder="transformer")
    model.save_pretrained(tmp_path / "sharded/transformer", max_shard_size="50KB")
    assert len(list((tmp_path / "sharded/transformer").glob("*.safetensors"))) > 1
    ours = tmp_path / "ours.safetensors"
    converter.run(arguments(tmp_path / "sharded", ours), clean(sizes))
    converter.run(arguments(ours, tmp_path / "again", back=True), clean(sizes))
    again = FluxTransformer2DModel.from_pretrained(tmp_path / "again").state_dict()
    before = model.state_dict()
    assert again.keys() == before.keys()
    assert all(torch.equal(again[key], value) for key, value in before.items())


def test_the_checkpoint_fits_the_shipped_config(release, sizes, tmp_path):
    from test_flux_real_layout import CONFIG, tiny_config

    from vtonlab.engine.checkpoints.files import read_checkpoint
    from vtonlab.registry import MODELS

    ours = tmp_path / "ours.safetensors"
    converter.run(arguments(release / "transformer", ours), clean(sizes))
    config = tiny_config(release, tmp_path, CONFIG.with_name("dit_vitonhd_attn.py"))
    model = MODELS.build(config.model.to_dict())
    checkpoint = read_checkpoint(ours)
    facts = checkpoint["meta"]["facts"]
    assert {key: model.checkpoint_meta()[key] for key in facts} == facts
    before = {name: p.clone() for name, p in model.backbone.named_parameters()}
    for parameter in model.backbone.parameters():
        parameter.data.zero_()
    model.load_state_dict(checkpoint["state_dict"], strict=True)
    assert all(torch.equal(p, before[name]) for name, p in model.backbone.named_parameters())
    trained = {"state_dict": model.state_dict()}  # attention alone
    torch.save(trained, tmp_path / "trained.pth")
    back = arguments(tmp_path / "trained.pth", tmp_path / "folder", back=True)
    with pytest.raises(ValueError, match="--base"):
        converter.run(back, clean(sizes))
    back.base = release / "transformer"
    converter.run(back, clean(sizes))
    assert (tmp_path / "folder/diffusion_pytorch_model.safetensors").is_file()


def test_bad_input_is_named(release, sizes, tmp_path):
    backbone = converter.build_backbone(clean(sizes))
    theirs = converter.read_parts(release)
    with pytest.raises(ValueError, match=r"no place in FLUX\.1-Fill's transformer, such as 'x'"):
        converter.forward({**theirs, "x": torch.zeros(1)}, backbone)
    short = {key: value for key, value in theirs.items() if key != "proj_out.bias"}
    with pytest.raises(ValueError, match=r"lacks 'proj_out\.bias'"):
        converter.forward(short, backbone)
    wrong = {**theirs, "proj_out.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"'proj_out\.bias' is \(3,\)"):
        converter.forward(wrong, backbone)
    lora = {"backbone.proj_out.lora_A.default.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"of a LoRA.*load_lora_weights"):
        converter.backward(lora, backbone)
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors"):
        converter.read_parts(tmp_path)
