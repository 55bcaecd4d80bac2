"""Features of length 1, a correlation that is an attention record, and no dependence on others."""

import pytest
import torch

from vtonlab.backbones import CorrespondenceNetwork
from vtonlab.backbones.correspondence_network import correlation, normalised
from vtonlab.ops.warp import identity_flow, token_flow


def network(**changes):
    torch.manual_seed(0)
    return CorrespondenceNetwork(widths=(8, 8, 16), dim=8, **changes)


def maps(count=2, size=(32, 24), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((count, 3, *size), (count, 6, *size))
    return [torch.rand(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize(("stem_stride", "factors"), [(2, (8, 4, 2)), (1, (4, 2, 1))])
def test_three_scales_of_unit_features(stem_stride, factors):
    features = network(stem_stride=stem_stride)(*maps())
    for side in (features.person, features.garment):
        assert [tuple(f.shape) for f in side] == [(2, 8, 32 // n, 24 // n) for n in factors]
        for f in side:
            torch.testing.assert_close(f.norm(dim=1), torch.ones_like(f[:, 0]))
            assert f.mean(1).abs().max() < 1e-6


def test_normalised_against_the_formula():
    x = torch.rand(2, 5, 3, 4, dtype=torch.float64)
    for b in range(2):
        pixel = x[b, :, 1, 2]
        centred = pixel - pixel.sum() / 5
        expected = centred / (centred**2).sum().sqrt()
        torch.testing.assert_close(normalised(x)[b, :, 1, 2], expected)


def test_the_correlation_is_the_softmax_of_the_paper():
    theta, phi = (normalised(torch.rand(1, 6, 3, 4, dtype=torch.float64)) for _ in range(2))
    record = correlation(theta, phi, temperature=0.01)
    expected = torch.softmax(theta[0].flatten(1).T @ phi[0].flatten(1) / 0.01, -1)
    torch.testing.assert_close(record.probs()[0, 0], expected)
    assert record.scale == 100 and record.query_grid == record.key_grid == (3, 4)


def test_identity_features_give_the_identity_correspondence():
    features = normalised(torch.randn(2, 8, 6, 5, dtype=torch.float64))
    record = correlation(features, features, temperature=0.01)
    flow = token_flow(record.argmax(), (6, 5), (6, 5), features)
    torch.testing.assert_close(flow, identity_flow((6, 5), features).expand(2, 6, 5, 2))


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
def test_the_rest_of_the_batch_does_not_matter_at_inference(norm):
    model = network(norm=norm)
    model(*maps(4))  # running statistics of "batch"
    model.eval()
    person, garment = maps(3, seed=1)
    whole, alone = model(person, garment), model(person[:1], garment[:1])
    for a, b in zip(whole.garment + whole.person, alone.garment + alone.person, strict=True):
        torch.testing.assert_close(a[:1], b)


def test_autocast_does_not_reach_it():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network()(*maps())
    assert features.person[0].dtype == torch.float32


def test_every_parameter_trains():
    model = network()
    features = model(*maps())
    weights = [torch.rand_like(f) for f in features.person + features.garment]
    parts = zip(features.person + features.garment, weights, strict=True)
    sum((f * w).sum() for f, w in parts).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize(
    ("changes", "message"), [({"norm": "layer"}, "norm 'layer'"), ({"widths": (8, 8)}, "three")]
)
def test_wrong_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        CorrespondenceNetwork(**changes)
