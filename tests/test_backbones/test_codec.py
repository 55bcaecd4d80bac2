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
