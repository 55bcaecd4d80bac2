import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "test_conditioners"))
from small_unet import SIZE, VAE, make_batch

from vtonlab.models import AutoencoderFinetune, autoencoder_finetune


@pytest.fixture
def random_lpips(monkeypatch):
    """torchmetrics' network with a random trunk in place of one that must be downloaded."""
    from torchmetrics.functional.image.lpips import _LPIPS

    def build(net, weights):
        torch.manual_seed(0)
        network = _LPIPS(pretrained=True, net=net, pnet_rand=True, eval_mode=True)
        return network.eval().requires_grad_(False)

    monkeypatch.setattr(autoencoder_finetune, "build_lpips", build)
    monkeypatch.setattr(autoencoder_finetune, "find_weights", lambda name: name)


def make_model(**changes):
    torch.manual_seed(0)
    config = dict(backbone=VAE, size=SIZE, lpips_net="squeeze")
    return AutoencoderFinetune(**(config | changes))


def test_loss_is_l1_plus_lpips_and_trains_the_decoder_alone(random_lpips):
    model = make_model(lpips_weight=0.5)
    big = dict(person=torch.rand(1, 3, 64, 64) * 2 - 1)  # SqueezeNet needs this much
    losses = model(mode="loss", **big)
    decoded = model.decode(model.encode(big["person"]))
    torch.testing.assert_close(losses["loss_l1"], (decoded - big["person"]).abs().mean())
    distance = model.lpips(decoded.clamp(-1, 1), big["person"])
    torch.testing.assert_close(losses["loss_lpips"], 0.5 * distance.mean())
    assert losses["loss_lpips"] > 0
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        trained = name.startswith(("backbone.decoder.", "backbone.post_quant_conv."))
        assert (parameter.grad is not None and bool(parameter.grad.any())) == trained, name
    assert not [name for name in model.state_dict() if name.startswith("backbone.encoder.")]


def test_steps_lower_the_loss(random_lpips):
    model = make_model(lpips_weight=0.0)
    batch = make_batch(model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    values = []
    for _ in range(15):
        loss = model(mode="loss", **batch)["loss_l1"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]
    result = model(mode="predict", **batch)[0]
    assert result["image"].shape == (*SIZE, 3) and result["mask"].shape == SIZE


def test_bad_settings(monkeypatch):
    with pytest.raises(ValueError, match="lpips_net='resnet'"):
        make_model(lpips_net="resnet")
    with pytest.raises(ValueError, match="answers 'loss' and 'predict'"):
        make_model(lpips_weight=0.0)(mode="tensor", person=torch.zeros(1, 3, 16, 16))

    def nowhere(name):
        raise autoencoder_finetune.NotComputableError(f"no {name}")

    monkeypatch.setattr(autoencoder_finetune, "find_weights", nowhere)
    with pytest.raises(FileNotFoundError, match=r"squeeze.*no squeezenet1_1"):
        make_model()


def test_export_is_a_vae_folder(tmp_path):
    from vtonlab.backbones.export import export_backbone
    from vtonlab.registry import BACKBONES

    model = make_model(lpips_weight=0.0)
    assert export_backbone(model.backbone, tmp_path) == tmp_path / "vae"
    loaded = BACKBONES.build(
        dict(type="from_pretrained", cls="AutoencoderKL", path=str(tmp_path), subfolder="vae")
    )
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
