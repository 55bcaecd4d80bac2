import pytest
import torch

from vtonlab.backbones import LinearCodec
from vtonlab.backbones.linear_codec import fit_linear_codec
from vtonlab.registry import DATASETS


@pytest.fixture(scope="module")
def pictures():
    """(16, 3, 64, 48) in [-1, 1]: people and garments of the validation split."""
    people = DATASETS.build(
        dict(type="SyntheticTryOn", split="val", size=(64, 48), categories=["upper_body"])
    )
    shown = [people[i][key] for i in range(8) for key in ("person", "garment")]
    return torch.stack([torch.from_numpy(p) for p in shown]).permute(0, 3, 1, 2) / 127.5 - 1


def psnr(codec, shown) -> float:
    drawn = codec.decode(codec.encode(shown).latent_dist.mode()).sample.clamp(-1, 1)
    return float(-10 * ((drawn - shown) / 2).square().mean().log10())


def test_shipped_codec_compresses_and_keeps_pictures(pictures):
    """Its card says 35 dB on people of twice the size; smaller ones hold finer detail."""
    codec = LinearCodec(weights="linear_codec")
    latents = codec.encode(pictures).latent_dist
    assert latents.mode().shape == (16, 16, 16, 12) and latents.sample() is latents.mode()
    assert psnr(codec, pictures) > 27
    assert codec.config.latent_channels == 16 and codec.config.scaling_factor == 1.0
    assert 2 ** (len(codec.config.block_out_channels) - 1) == codec.factor
    assert 0.5 < latents.mode().square().mean() < 2  # as loud as the noise


def test_all_coefficients_lose_nothing(pictures):
    """48 of 48: the KLT is a rotation, so decoding inverts encoding to float32's precision."""
    codec = LinearCodec(weights=fit_linear_codec(pictures, 48, 4))
    drawn = codec.decode(codec.encode(pictures).latent_dist.mode()).sample
    torch.testing.assert_close(drawn, pictures, atol=2e-4, rtol=0)  # scales differ 100-fold


def test_a_fit_is_better_with_more_coefficients_and_repeatable(pictures):
    few, more = (fit_linear_codec(pictures, n, 4) for n in (6, 16))
    assert psnr(LinearCodec(weights=few), pictures) < psnr(LinearCodec(weights=more), pictures)
    lapped = fit_linear_codec(pictures, 16, 8, steps=12)
    again = fit_linear_codec(pictures, 16, 8, steps=12)
    assert all(torch.equal(lapped[name], again[name]) for name in lapped)
    assert lapped["analysis"].shape == (16, 3, 8, 8)


def test_coefficients_are_uncorrelated_and_sorted(pictures):
    codec = LinearCodec(weights=fit_linear_codec(pictures, 8, 4))
    rows = codec.encode(pictures).latent_dist.mode().transpose(0, 1).flatten(1).double()
    moments = rows @ rows.T / rows.shape[1]
    scale = moments.diagonal().sqrt()
    off = moments / scale[:, None] / scale - torch.eye(8)
    assert off.abs().max() < 1e-3  # float32 moments of 3 072 blocks
    assert (scale[:-1] >= scale[1:] - 1e-6).all()


def test_tensors_that_do_not_belong_together():
    tensors = dict(analysis=torch.zeros(4, 3, 8, 8), mean=torch.zeros(3))
    with pytest.raises(ValueError, match="must both be"):
        LinearCodec(weights=tensors | dict(synthesis=torch.zeros(5, 3, 8, 8)))
    odd = {name: torch.zeros(4, 3, 7, 7) for name in ("analysis", "synthesis")}
    with pytest.raises(ValueError, match="cannot lie 4 apart"):
        LinearCodec(weights=tensors | odd)
