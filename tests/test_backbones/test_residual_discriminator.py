"""The discriminator: minibatch deviation against numpy and over ranks, sizes, gradients."""

import numpy as np
import pytest
import torch

from vtonlab.backbones.residual_discriminator import ResidualDiscriminator, minibatch_stddev


def features(batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 3, 4, 2, generator=generator)


def network(**changes) -> ResidualDiscriminator:
    torch.manual_seed(0)
    settings = dict(size=(16, 8), channels=(4, 6, 8), stddev_group=2)
    return ResidualDiscriminator(**(settings | changes))


@pytest.mark.parametrize(("batch", "group"), [(8, 4), (4, 4), (6, 2), (3, 1)])
def test_deviation_of_strided_groups(batch, group):
    x = features(batch)
    found = minibatch_stddev(x, group)
    assert found.shape == (batch, 1, 4, 2)
    groups = batch // group
    for sample in range(batch):
        members = x.numpy()[sample % groups :: groups].astype(np.float64)
        wanted = np.sqrt(members.var(0) + 1e-8).mean()
        assert np.allclose(found[sample].numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_deviation_does_not_depend_on_the_number_of_ranks(ranks):
    """Rank r of w has the samples r, r + w, ... of a global batch (`ResumableSampler`)."""
    x = features(16)
    whole = minibatch_stddev(x, 4)
    for rank in range(ranks):
        assert torch.equal(minibatch_stddev(x[rank::ranks], 4), whole[rank::ranks])


def test_a_batch_that_cannot_be_grouped():
    with pytest.raises(ValueError, match=r"6 samples cannot be split into groups of 4"):
        minibatch_stddev(features(6), 4)


def test_scores_and_what_they_depend_on():
    judge = network()
    pictures, pose = torch.rand(4, 3, 16, 8), torch.rand(4, 3, 16, 8)
    scores = judge(pictures, pose)
    assert scores.shape == (4,)
    assert not torch.allclose(scores, judge(pictures, 1 - pose))
    alike = judge(pictures[:1].expand(4, -1, -1, -1), pose[:1].expand(4, -1, -1, -1))
    assert torch.allclose(alike, alike[:1].expand(4), atol=1e-5)
    assert not torch.allclose(alike[0], scores[0])  # its neighbours are seen


def test_a_size_that_cannot_be_halved():
    with pytest.raises(ValueError, match="3 channels need sizes divisible by 4, not 18x8"):
        network(size=(18, 8))


def test_gradients_reach_every_parameter():
    judge = network()
    judge(torch.rand(4, 3, 16, 8), torch.rand(4, 3, 16, 8)).square().sum().backward()
    assert [n for n, p in judge.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_deviation_of_equal_samples_has_a_finite_gradient():
    x = torch.ones(4, 2, 2, 2, requires_grad=True)
    minibatch_stddev(x, 4).sum().backward()
    assert torch.isfinite(x.grad).all()
