"""Leffa's checkpoints, key for key, both ways."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tools/convert"))
import leffa as converter

UNET = dict(
    in_channels=9,
    out_channels=4,
    block_out_channels=(8, 16),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    layers_per_block=1,
    norm_num_groups=4,
    attention_head_dim=2,
    cross_attention_dim=12,
    addition_embed_type="text_time",
    addition_time_embed_dim=4,
    projection_class_embeddings_input_dim=20,
)
VAE = dict(
    block_out_channels=(8, 16),
    norm_num_groups=4,
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    latent_channels=4,
)
SMALL = dict(unet=UNET, vae=VAE)
WEIGHTS = ("vitonhd", "dresscode", "pose_transfer")


def released(unet=None, vae=None) -> dict[str, tuple]:
    """Names and shapes as the release's own code makes them: two diffusers UNets and a VAE.

    Both UNets keep cross-attention, SDXL's pooled inputs and the output layers; the generative one
    has 12 input channels, the reference four.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        parts = {
            "unet.": UNet2DConditionModel(**(unet or converter.SD15_UNET)),
            "unet_encoder.": UNet2DConditionModel(**(unet or converter.SD15_UNET)),
            "vae.": AutoencoderKL(**(vae or converter.SD15_VAE)),
        }
    shapes = {
        prefix + name: tuple(value.shape)
        for prefix, part in parts.items()
        for name, value in part.state_dict().items()
    }
    for prefix, channels in (("unet.", 12), ("unet_encoder.", 4)):
        width = shapes[f"{prefix}conv_in.weight"][0]
        shapes[f"{prefix}conv_in.weight"] = (width, channels, 3, 3)
    return shapes


@pytest.fixture(scope="module")
def theirs():
    generator = torch.Generator().manual_seed(0)
    shapes = released(UNET, VAE)
    return {key: 0.1 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.mark.parametrize("weights", ["vitonhd", "pose_transfer"])
def test_published_sizes_key_for_key(weights):
    """No key is left over and every shape fits, at the real size (without the numbers)."""
    unet = converter.WEIGHTS[weights].unet
    theirs = {k: torch.empty(shape, device="meta") for k, shape in released(unet).items()}
    model = converter.build_model(weights)
    ours = converter.forward(theirs, model)
    assert set(ours) == {name for name, _ in model.named_parameters()}
    again = converter.backward(ours, model)
    assert {key: tuple(value.shape) for key, value in again.items()} == released(unet)


def arguments(source, target, **others):
    settings = dict(weights="dresscode", back=False, folder=None, base=None) | others
    return argparse.Namespace(source=source, target=target, **settings)


@pytest.fixture(scope="module")
def files(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("leffa")
    torch.save(theirs, folder / "theirs.pth")
    args = arguments(folder / "theirs.pth", folder / "ours.safetensors", folder=folder / "base")
    said = converter.run(args, SMALL)
    assert said.count("self-check") == 3
    return folder


def test_round_trip_is_the_identity(files, theirs):
    converter.run(arguments(files / "ours.safetensors", files / "again.pth", back=True), SMALL)
    again = converter.read(files / "again.pth")
    assert again.keys() == theirs.keys()
    assert all(torch.equal(again[key], value) for key, value in theirs.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_called_and_kept(theirs, tmp_path, dtype):
    torch.save({key: value.to(dtype) for key, value in theirs.items()}, tmp_path / "half.pth")
    args = arguments(tmp_path / "half.pth", tmp_path / "ours.safetensors", folder=tmp_path / "base")
    assert converter.run(args, SMALL).count("self-check") == 3
    assert {value.dtype for value in converter.read(args.target).values()} == {dtype}
    converter.run(arguments(args.target, tmp_path / "again.pth", back=True), SMALL)
    assert {value.dtype for value in converter.read(tmp_path / "again.pth").values()} == {dtype}


def test_what_an_earlier_conversion_kept_beside_goes_with_it(theirs, tmp_path):
    """It would be read as weights of the new file."""
    target = tmp_path / "ours.safetensors"
    converter.write({"w": torch.ones(1), "released.betas": torch.ones(2)}, target)
    assert set(converter.read(target)) == {"w", "released.betas"}
    converter.write({"w": torch.ones(1)}, target)
    assert set(converter.read(target)) == {"w"}


def build(files, **conditioner):
    from vtonlab.models import TryOnDiffusion

    def part(cls, name):
        return dict(type="from_pretrained", cls=cls, path=str(files / "base"), subfolder=name)

    return TryOnDiffusion(
        size=(32, 24),
        categories=["upper_body", "lower_body", "dresses"],
        backbone=part("UNet2DConditionModel", "unet"),
        codec=part("AutoencoderKL", "vae"),
        conditioner=dict(type="SpatialConcatConditioner", **conditioner),
        noise_schedule=dict(type="DDPMSchedule"),
        sampler=dict(type="DDPMSampler"),
    )


def test_converted_files_make_the_released_model(files, theirs):
    from vtonlab.engine.checkpoints.files import read_checkpoint

    model = build(files, cross_attention="residual")
    checkpoint = read_checkpoint(files / "ours.safetensors")
    model.load_state_dict(checkpoint["state_dict"], strict=True)
    for name, key in converter.names_of(model).items():
        assert torch.equal(model.get_parameter(name), theirs[key]), name
    facts = checkpoint["meta"]["facts"]
    assert {key: model.checkpoint_meta()[key] for key in facts} == facts
    assert "size" not in facts
    assert checkpoint["meta"]["as_released"] is True


def test_a_training_checkpoint_goes_back_with_its_base(files, theirs):
    model = build(files, cross_attention="residual")
    torch.save({"state_dict": model.state_dict()}, files / "trained.pth")
    with pytest.raises(ValueError, match="--base"):
        converter.run(arguments(files / "trained.pth", files / "x.pth", back=True), SMALL)
    args = arguments(
        files / "trained.pth", files / "x.pth", back=True, base=files / "ours.safetensors"
    )
    converter.run(args, SMALL)
    assert converter.read(files / "x.pth").keys() == theirs.keys()


def test_bad_input_is_named(theirs, tmp_path):
    model = converter.build_model("dresscode", SMALL)
    with pytest.raises(ValueError, match=r"no place in this model, such as 'other\.weight'"):
        converter.forward({**theirs, "other.weight": torch.zeros(1)}, model)
    short = {key: value for key, value in theirs.items() if key != "unet.conv_out.bias"}
    with pytest.raises(ValueError, match=r"lacks 'unet\.conv_out\.bias'"):
        converter.forward(short, model)
    with pytest.raises(ValueError, match=r"no place in Leffa's file, such as 'x'"):
        converter.backward(converter.forward(theirs, model) | {"x": torch.zeros(1)}, model)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        converter.run(arguments(tmp_path / "none.pth", tmp_path / "x.safetensors"), SMALL)
    torch.save(theirs, tmp_path / "whole.pth")
    with pytest.raises(ValueError, match="is a folder: name the new file"):
        converter.run(arguments(tmp_path / "whole.pth", tmp_path), SMALL)
    for content, said in (
        ([1], "holds a list, not a state dict"),
        ({"state_dict": [torch.ones(1)]}, "holds a list, not a state dict"),
        ({"model": theirs, "step": 3}, "its 'model' is a dict; save the weights alone"),
        ({**theirs, "step": 3}, "its 'step' is a int"),
    ):
        torch.save(content, tmp_path / "odd.pth")
        with pytest.raises(ValueError, match=rf"odd\.pth .*{said}"):
            converter.run(arguments(tmp_path / "odd.pth", tmp_path / "x.safetensors"), SMALL)


def test_each_file_has_its_own_scaling(files):
    """SDXL's latents have another scale than SD-1.5's; a folder that says otherwise is silent."""
    from diffusers import AutoencoderKL

    factors = {w: converter.build_model(w, SMALL).codec.config.scaling_factor for w in WEIGHTS}
    assert factors == {"vitonhd": 0.18215, "dresscode": 0.18215, "pose_transfer": 0.13025}
    assert AutoencoderKL.from_pretrained(files / "base/vae").config.scaling_factor == 0.18215


def test_the_published_name_says_which_weights(tmp_path):
    said = {release.file: key for key, release in converter.WEIGHTS.items()}
    assert [converter.weights_of(Path(name), None) for name in said] == [*said.values()]
    assert converter.weights_of(Path("renamed.pth"), "dresscode") == "dresscode"
    with pytest.raises(ValueError, match=r"none of Leffa's .*virtual_tryon\.pth"):
        converter.weights_of(Path("renamed.pth"), None)
    with pytest.raises(ValueError, match=r"holds the weights dresscode, not vitonhd"):
        converter.weights_of(Path("virtual_tryon_dc.pth"), "vitonhd")
