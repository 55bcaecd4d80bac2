"""StableVITON's and SIFT-VTON's checkpoints, key for key, both ways."""

import argparse
import collections
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "tools/convert"))
import zero_cross_attention as converter
from ranks import run_alone
from released_keys import Sizes, released

ROOT = Path(__file__).parents[2]
SMALL = Sizes(
    width=32, context=24, vae=32, vae_mults=(1, 2), clip=20, clip_mlp=24, clip_layers=5,
    patches=5, patch=14, mapper=1,
)  # fmt: skip
OVERRIDES = dict(
    unet=dict(
        cross_attention_dim=24, attention_head_dim=4, in_channels=9,
        block_out_channels=(32, 64, 128, 128),
    ),
    vae=dict(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=2, latent_channels=4,
    ),
    token=dict(
        hidden_size=20, intermediate_size=24, num_hidden_layers=5, num_attention_heads=2,
        image_size=28, patch_size=14, projection_dim=24,
    ),
    heads=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def theirs():
    generator = torch.Generator().manual_seed(0)
    return {
        key: 0.1 * torch.randn(shape, generator=generator) for key, shape in released(SMALL).items()
    }


@pytest.fixture(scope="module")
def model():
    return converter.build_model(OVERRIDES)


def test_published_sizes_key_for_key():
    """No key is left over and every shape fits, at the real size (without the numbers)."""
    theirs = {key: torch.empty(shape, device="meta") for key, shape in released().items()}
    model = converter.build_model()
    ours = converter.forward(theirs, model)
    weights = {key for key in ours if not key.startswith(converter.KEPT)}
    assert weights == {name for name, _ in model.named_parameters()}
    again = converter.backward(ours, model)
    assert {key: tuple(value.shape) for key, value in again.items()} == released()
    print({key: f"{n / 1e6:.1f} M" for key, n in count(model).items()})


def count(model) -> dict[str, int]:
    parts = collections.Counter()
    for name, parameter in model.named_parameters():
        parts[".".join(name.split(".")[: 1 + name.startswith("conditioner")])] += parameter.numel()
    return dict(parts)


def test_parameter_counts_of_the_published_architecture():
    """SD-1.x: 859.5 M in the UNet, 83.7 M in the VAE; as in every SD-1.x."""
    shapes = released()
    size = {key: torch.Size(shape).numel() for key, shape in shapes.items()}

    def total(*starts: str) -> int:
        return sum(n for key, n in size.items() if key.startswith(starts))

    warp = total("model.diffusion_model.warp_")
    unet = total("model.diffusion_model.") - warp
    found = count(converter.build_model())
    assert found["backbone"] == unet == 859_520_964 + 4 * 9 * 320 + 5 * 9 * 320
    assert found["conditioner.cross"] == warp
    assert found["conditioner.encoder"] == total("control_model.")
    assert found["codec"] == total("first_stage_model.") == 83_653_863
    clip = total("cond_stage_model.", "proj_out", "learnable_vector") - 257
    assert found["conditioner.image_encoder"] == clip


def test_there_and_back_is_the_identity(theirs, model):
    ours = converter.forward(theirs, model)
    again = converter.backward(ours, model)
    assert again.keys() == theirs.keys()
    assert all(torch.equal(again[key], theirs[key]) for key in theirs)


def test_every_number_is_used_once(theirs, model):
    ours = converter.forward(theirs, model)
    assert sum(v.numel() for v in ours.values()) == sum(v.numel() for v in theirs.values())


def test_unet_agrees_with_the_conversion_of_diffusers(theirs, model):
    from diffusers.loaders.single_file_utils import (
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
    )

    ours = converter.forward(theirs, model)
    plain = {k: v for k, v in theirs.items() if ".warp_" not in k}
    config = {**model.backbone.config, "num_class_embeds": None}
    unet = convert_ldm_unet_checkpoint(dict(plain), config)
    assert {f"backbone.{k}" for k in unet} == {k for k in ours if k.startswith("backbone.")}
    assert all(torch.equal(v, ours[f"backbone.{k}"]) for k, v in unet.items())
    vae = convert_ldm_vae_checkpoint(dict(theirs), model.codec.config)
    assert {f"codec.{k}" for k in vae} == {k for k in ours if k.startswith("codec.")}
    for key, value in vae.items():
        assert torch.equal(value.reshape(ours[f"codec.{key}"].shape), ours[f"codec.{key}"]), key


def test_mapper_computes_what_the_authors_compute(theirs, model):
    """One token, one head: x + proj(v(ln x)), then the MLP (attention over one token is one)."""
    from torch.nn import functional as F

    from vtonlab.backbones import GarmentTokenEncoder

    ours = converter.forward(theirs, model)
    encoder = GarmentTokenEncoder(**OVERRIDES["token"])
    prefix = "conditioner.image_encoder."
    encoder.load_state_dict({k.removeprefix(prefix): v for k, v in ours.items() if prefix in k})
    block = {
        k.removeprefix("cond_stage_model.mapper.resblocks.0."): v
        for k, v in theirs.items()
        if "mapper" in k
    }
    x = torch.randn(2, 1, 20)
    normed = F.layer_norm(x, (20,), block["ln_1.weight"], block["ln_1.bias"])
    qkv = F.linear(normed, block["attn.c_qkv.weight"], block["attn.c_qkv.bias"])
    value = qkv.view(2, 1, 1, -1).split(20, dim=-1)[2].reshape(2, 1, 20)
    y = x + F.linear(value, block["attn.c_proj.weight"], block["attn.c_proj.bias"])
    normed = F.layer_norm(y, (20,), block["ln_2.weight"], block["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, block["mlp.c_fc.weight"], block["mlp.c_fc.bias"]))
    y = y + F.linear(hidden, block["mlp.c_proj.weight"], block["mlp.c_proj.bias"])
    with torch.no_grad():
        torch.testing.assert_close(encoder.mapper["blocks"][0](x), y, rtol=1e-4, atol=1e-4)


def test_missing_surplus_and_misshapen_keys(theirs, model):
    key = "control_model.cond_first_block.0.weight"
    with pytest.raises(ValueError, match=key):
        converter.forward({k: v for k, v in theirs.items() if k != key}, model)
    with pytest.raises(ValueError, match=r"1 keys have no place.*attn_scale_mask3"):
        extra = {"model.diffusion_model.attn_scale_mask3": torch.zeros(9)}
        converter.forward({**theirs, **extra}, model)
    with pytest.raises(ValueError, match="cond_first_block"):
        converter.forward({**theirs, key: torch.zeros(3, 4, 3, 3)}, model)
    ours = converter.forward(theirs, model)
    with pytest.raises(ValueError, match="no place in the authors' file"):
        converter.backward({**ours, "conditioner.other": torch.zeros(1)}, model)


def arguments(source, target, **more):
    known = dict(back=False, folder=None, base=None)
    return argparse.Namespace(source=source, target=target, **(known | more))


@pytest.fixture(scope="module")
def files(theirs, tmp_path_factory):
    """A released file, converted, with its folder."""
    folder = tmp_path_factory.mktemp("convert")
    torch.save({"state_dict": theirs}, folder / "theirs.ckpt")
    target, parts = folder / "ours.safetensors", folder / "parts"
    said = converter.run(arguments(folder / "theirs.ckpt", target, folder=parts), OVERRIDES)
    assert "16 keys without a use" in said and said.count("self-check") == 3
    return folder


def test_files_there_and_back(files, theirs):
    converter.run(arguments(files / "ours.safetensors", files / "again.ckpt", back=True), OVERRIDES)
    again = torch.load(files / "again.ckpt", weights_only=True)["state_dict"]
    assert again.keys() == theirs.keys()
    assert all(torch.equal(again[key], theirs[key]) for key in theirs)


def small_model(files, **changes):
    """As ``configs/*/unet_vitonhd.py`` builds it, from the converted folder."""
    from vtonlab.models import TryOnDiffusion

    def part(cls, subfolder):
        return dict(type="from_pretrained", cls=cls, path=str(files / "parts"), subfolder=subfolder)

    config = dict(
        size=(512, 384),
        categories=["upper_body"],
        backbone=part("UNet2DConditionModel", "unet"),
        codec=part("AutoencoderKL", "vae"),
        conditioner=dict(
            type="ZeroCrossAttentionConditioner",
            num_heads=4,
            image_encoder=part("GarmentTokenEncoder", "image_encoder"),
            mask_shows="keep",
        ),
        noise_schedule=dict(type="DDPMSchedule"),
        sampler=dict(type="PLMSSampler"),
        trainable=[],
    )
    return TryOnDiffusion(**(config | changes))


def test_converted_files_make_the_released_model(files, theirs, model):
    """Frozen parts from the folder, trained parts from the file: every weight is the authors'."""
    from vtonlab.engine.checkpoints.files import read_checkpoint

    built = small_model(files)
    checkpoint = read_checkpoint(files / "ours.safetensors")
    built.load_state_dict(checkpoint["state_dict"], strict=True)
    expected = converter.forward(theirs, model)
    for name, parameter in built.named_parameters():
        assert torch.equal(parameter, expected[name]), name
    facts = checkpoint["meta"]["facts"]
    assert {key: built.checkpoint_meta()[key] for key in facts} == facts


def test_a_training_checkpoint_goes_back_with_its_base(files, theirs):
    built = small_model(files)
    torch.save({"state_dict": built.state_dict()}, files / "trained.pth")
    target = files / "from_training.ckpt"
    source = files / "trained.pth"
    with pytest.raises(ValueError, match="--base"):
        converter.run(arguments(source, target, back=True), OVERRIDES)
    base = files / "ours.safetensors"
    converter.run(arguments(source, target, back=True, base=base), OVERRIDES)
    assert torch.load(target, weights_only=True)["state_dict"].keys() == theirs.keys()


class Callback:
    """What a Lightning checkpoint may hold."""


def test_a_pickle_with_code_is_explained(tmp_path):
    torch.save({"state_dict": {}, "callbacks": Callback()}, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=r"pickle_checkpoint\.py"):
        converter.read(tmp_path / "bad.ckpt")
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        converter.read(tmp_path / "none.ckpt")


@pytest.mark.parametrize("tool", ["stableviton", pytest.param("sift_vton", marks=pytest.mark.slow)])
def test_command_line(tool, tmp_path):
    script = ROOT / f"tools/convert/{tool}.py"
    result = run_alone(script, ["none.ckpt", "x.safetensors"], cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1] == "error: no checkpoint at none.ckpt"


def test_sift_vton_has_a_buffer_more(theirs, model):
    key = "model.diffusion_model.explicit_ratio"
    extra = {**theirs, key: torch.zeros(9)}
    ours = converter.forward(extra, model)
    assert converter.backward(ours, model).keys() == extra.keys()


def test_other_published_files_are_refused_by_name(tmp_path):
    for name in converter.OTHERS:
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=r"VITONHD\.ckpt|give that"):
            converter.run(arguments(tmp_path / name, tmp_path / "x.safetensors"), OVERRIDES)


def test_weights_that_are_not_finite_are_refused(theirs, tmp_path):
    key = "model.diffusion_model.out.2.bias"
    torch.save({**theirs, key: theirs[key] * torch.nan}, tmp_path / "broken.ckpt")
    with pytest.raises(ValueError, match=r"noise that the network predicts .* not finite"):
        converter.run(arguments(tmp_path / "broken.ckpt", tmp_path / "x.safetensors"), OVERRIDES)
    assert not (tmp_path / "x.safetensors").exists()
