import torch

from vtonlab.registry import BACKBONES


def test_codec_is_lossless_and_speaks_like_a_vae():
    codec = BACKBONES.build(dict(type="SpaceToDepthCodec", factor=4))
    pictures = torch.rand(2, 3, 16, 12) * 2 - 1
    distribution = codec.encode(pictures).latent_dist
    assert torch.equal(distribution.mode(), distribution.sample())
    assert distribution.mode().shape == (2, codec.config.latent_channels, 4, 3)
    assert torch.equal(codec.decode(distribution.mode()).sample, pictures)
    assert 2 ** (len(codec.config.block_out_channels) - 1) == 4
    assert not list(codec.parameters())


def test_a_codec_encodes_in_its_own_precision_under_autocast():
    """Equal to the bit to what it encodes without: autocast does not reach it."""
    from diffusers import AutoencoderKL

    from vtonlab.backbones.codec import encode_pictures

    torch.manual_seed(0)
    codec = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=2).eval()
    pictures = torch.rand(1, 3, 16, 16) * 2 - 1
    wanted = encode_pictures(codec, pictures)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encode_pictures(codec, pictures), wanted)
