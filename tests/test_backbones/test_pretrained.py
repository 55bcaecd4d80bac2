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


def test_quantisation_says_what_it_lacks(monkeypatch):
    from vtonlab.backbones import pretrained

    find = pretrained.importlib.util.find_spec
    for found, error, text in (
        (None, ImportError, "pip install bitsandbytes"),
        (object(), ValueError, "CUDA GPU"),
    ):
        monkeypatch.setattr(
            pretrained.importlib.util,
            "find_spec",
            lambda name, *rest, found=found: found if name == "bitsandbytes" else find(name, *rest),
        )
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(error, match=text):
            pretrained._quantization(dict(load_in_4bit=True), "bfloat16")
    assert pretrained._quantization(None, "bfloat16") == {}


def test_half_precision_is_the_weights_own():
    from vtonlab.backbones.pretrained import half_precision

    mixed = torch.nn.Sequential(torch.nn.Linear(4, 4).bfloat16(), torch.nn.Linear(4, 4))
    with half_precision(mixed):
        assert mixed(torch.zeros(1, 4)).dtype == torch.bfloat16
    plain = torch.nn.Linear(4, 4)
    with half_precision(plain):
        assert plain(torch.zeros(1, 4)).dtype == torch.float32
