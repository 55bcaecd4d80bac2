import pytest
import torch

from vtonlab.registry import BACKBONES

TINY_VAE = dict(block_out_channels=(4,), norm_num_groups=2, latent_channels=4, layers_per_block=1)


def test_diffusers_classes_are_found_by_name():
    vae = BACKBONES.build(dict(type="AutoencoderKL", **TINY_VAE))
    assert type(vae).__name__ == "AutoencoderKL"


def test_saved_weights_come_back(tmp_path):
    vae = BACKBONES.build(dict(type="AutoencoderKL", **TINY_VAE))
    vae.save_pretrained(tmp_path / "vae")
    again = BACKBONES.build(
        dict(type="from_pretrained", cls="AutoencoderKL", path=str(tmp_path), subfolder="vae")
    )
    for key, value in vae.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


def test_dtype(tmp_path):
    BACKBONES.build(dict(type="AutoencoderKL", **TINY_VAE)).save_pretrained(tmp_path)
    vae = BACKBONES.build(
        dict(type="from_pretrained", cls="AutoencoderKL", path=str(tmp_path), dtype="bfloat16")
    )
    assert vae.dtype == torch.bfloat16


@pytest.mark.parametrize("path", ["some-org/no-such-model", "empty"])
def test_missing_weights_are_one_sentence(path, tmp_path):
    where = tmp_path if path == "empty" else path
    with pytest.raises(FileNotFoundError) as caught:
        BACKBONES.build(dict(type="from_pretrained", cls="AutoencoderKL", path=str(where)))
    text = str(caught.value)
    assert "\n" not in text and str(where) in text and "diffusers layout" in text


def test_unknown_names():
    with pytest.raises(ValueError, match="NoSuchClass"):
        BACKBONES.build(dict(type="from_pretrained", cls="NoSuchClass", path="x"))
    with pytest.raises(ValueError, match="float8"):
        BACKBONES.build(dict(type="from_pretrained", cls="AutoencoderKL", path="x", dtype="float8"))
