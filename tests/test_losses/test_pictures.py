"""L1 and VGG19 losses; the weights are random, in the published file's layout."""

import pytest
import torch

from vtonlab.losses import L1Loss, PerceptualLoss
from vtonlab.losses.pictures import VGG19


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    layers = make_layers(cfgs["E"], batch_norm=False)
    path = tmp_path_factory.mktemp("weights") / VGG19
    state = {f"features.{name}": value for name, value in layers.state_dict().items()}
    torch.save(state | {"classifier.0.weight": torch.zeros(1)}, path)
    return path, layers.eval()


@pytest.fixture(scope="module")
def perceptual(weights):
    return PerceptualLoss(weight=0.2, path=weights[0].parent)


def pictures(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 2, 3, 32, 24, generator=generator) * 2 - 1


def test_l1_against_the_formula():
    found, wanted = pictures().double()
    expected = 0.5 * sum(abs(a - b) for a, b in zip(found.flatten(), wanted.flatten(), strict=True))
    assert L1Loss(weight=0.5)(found, wanted).item() == pytest.approx(expected / found.numel())


def test_perceptual_against_torchvision(perceptual, weights):
    found, wanted = pictures()
    layers = weights[1]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = 0.0
    a, b = ((x / 2 + 0.5 - mean) / std for x in (found, wanted))
    for number, layer in enumerate(layers[:30]):
        a, b = layer(a), layer(b)
        share = {1: 1 / 32, 6: 1 / 16, 11: 1 / 8, 20: 1 / 4, 29: 1}.get(number)
        if share is not None:
            expected = expected + share * (a - b).abs().mean()
    torch.testing.assert_close(perceptual(found, wanted), 0.2 * expected)
    assert perceptual(found, found) == 0


def test_only_the_masked_part_counts(perceptual):
    found, wanted = pictures()
    mask = torch.zeros(2, 1, 32, 24)
    mask[..., 8:24, 6:18] = 1
    other = found * mask + pictures(1)[0] * (1 - mask)
    torch.testing.assert_close(perceptual(other, wanted, mask), perceptual(found, wanted, mask))


def test_the_gradient_goes_to_the_first_picture_alone(perceptual):
    found, wanted = (p.clone().requires_grad_() for p in pictures())
    perceptual(found, wanted).backward()
    assert found.grad.any() and wanted.grad is None
    assert not any(p.requires_grad for p in perceptual.parameters())


def test_stays_in_evaluation_mode_and_takes_tiny_pictures(perceptual):
    perceptual.train()
    assert not perceptual.training
    assert torch.isfinite(perceptual(*pictures()[..., :8, :6]))


def test_missing_weights_say_where_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no VGG19 weights at .*download.pytorch.org"):
        PerceptualLoss(path=tmp_path)


def test_l1_inside_the_mask_averages_over_it():
    found, wanted = pictures().double()
    mask = torch.zeros(2, 1, 32, 24).double()
    mask[0, ..., 8:24, 6:18], mask[1, ..., :4, :4] = 1, 0.5
    expected = [
        ((f - w).abs().mean(0) * m[0]).sum() / m.sum()
        for f, w, m in zip(found, wanted, mask, strict=True)
    ]
    loss = L1Loss(masked=True, weight=2.0)
    torch.testing.assert_close(loss(found, wanted, mask), 2 * torch.stack(expected).mean())
    assert loss(found, wanted, torch.zeros_like(mask)) == 0
    with pytest.raises(ValueError, match="have no mask"):
        loss(found, wanted)


def test_released_vgg_sees_raw_pictures_on_zeros(weights):
    found, wanted = pictures()
    mask = torch.zeros(2, 1, 32, 24)
    mask[..., 8:24, 6:18] = 1
    loss = PerceptualLoss(path=weights[0].parent, imagenet=False, outside="zeros")
    first = weights[1][0](found * mask).relu()
    torch.testing.assert_close(loss.features(found * mask)[0], first)
    whole = PerceptualLoss(path=weights[0].parent, imagenet=False, masked=False)
    torch.testing.assert_close(loss(found, wanted, mask), whole(found * mask, wanted * mask))
    with pytest.raises(ValueError, match="outside 'grey' is none of"):
        PerceptualLoss(path=weights[0].parent, outside="grey")
