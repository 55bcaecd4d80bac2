"""The warping system: its seam, its results, and training in every row of the ablation."""

import numpy as np
import pytest
import torch

from vtonlab.backbones.correspondence_network import CorrespondenceNetwork, PyramidFeatures
from vtonlab.models import TryOnWarping
from vtonlab.registry import BACKBONES
from vtonlab.structures.sample import collate

SIZE = (32, 24)
NETWORK = dict(type="CorrespondenceNetwork", widths=(8, 8, 16), dim=8, stem_stride=1)
REFINEMENT = dict(type="FlowRefinement", dim=8, hidden=6, motion=8)
CORRELATION = dict(correlation=dict(type="CorrelationRegularizationLoss"))


@BACKBONES.register_module()
class PlacesNetwork(CorrespondenceNetwork):
    """Features that say where a pixel lies: whoever sees both pictures matches equal places."""

    def forward(self, person, garment):
        generator = torch.Generator().manual_seed(0)
        h, w = (side // self.stride for side in person.shape[-2:])
        scales = [torch.randn(1, 8, h * n, w * n, generator=generator) for n in (1, 2, 4)]
        scales = [(f / f.norm(dim=1, keepdim=True)).expand(len(person), -1, -1, -1) for f in scales]
        return PyramidFeatures(scales, scales)


@pytest.fixture
def make(make_sample):
    def build(**changes):
        torch.manual_seed(0)
        config = dict(
            size=SIZE,
            network=NETWORK,
            refinement=REFINEMENT,
            attention_losses=CORRELATION,
            flow_loss=dict(type="FlowRegressionLoss"),
            image_losses=dict(l1=dict(type="L1Loss")),
            probe=dict(layers=["correlation"]),
        )
        return TryOnWarping(**(config | changes))

    return build


@pytest.fixture
def batch_of(make_sample):
    """``batch_of(model, numbers)``: preprocessed samples."""

    def batch(model, numbers=(0, 1)):
        return model.data_preprocessor(collate([make_sample(n) for n in numbers]))

    return batch


def total(losses):
    return sum(value for name, value in losses.items() if name.startswith("loss_"))


def test_the_seam_of_the_second_stage(make, batch_of):
    model = make()
    batch = batch_of(model)
    warp = model.warp(batch)
    assert warp.flow.shape == (2, *SIZE, 2) and warp.flow.requires_grad
    assert warp.warped.shape == (2, 3, *SIZE) and warp.warped_mask.shape == (2, 1, *SIZE)
    assert 0 <= warp.warped_mask.min() and warp.warped_mask.max() <= 1
    outside = warp.warped_mask.expand_as(warp.warped) == 0
    assert (warp.warped[outside] == 1).all()  # white


def test_equal_places_lay_the_garment_where_it_was(make, batch_of):
    model = make(network={**NETWORK, "type": "PlacesNetwork"}, refinement=None)
    batch = batch_of(model)
    batch["garment_mask"] = torch.ones_like(batch["garment_mask"])
    warp = model.warp(batch)
    assert warp.flow.shape == (2, 8, 6, 2)  # the correlation's own
    torch.testing.assert_close(warp.warped, batch["garment"], rtol=0, atol=1e-5)
    torch.testing.assert_close(warp.warped_mask, batch["garment_mask"], rtol=0, atol=1e-5)


def test_results_carry_what_metrics_need(make, batch_of):
    model = make().eval()
    batch = batch_of(model)
    result = model(mode="predict", **batch)[1]
    assert result["id"] == "p1" and result["garment_id"] == "g1"
    for key in ("image", "repainted", "target"):
        assert result[key].shape == (*SIZE, 3) and result[key].dtype == np.uint8
    for key in ("mask", "warped_mask", "worn_mask"):
        assert result[key].shape == SIZE and set(np.unique(result[key])) <= {0, 1}
    assert result["warped_flow"].shape == (*SIZE, 2) and result["flow"].size == SIZE
    found = result["attention"]["correlation"]
    assert found["grids"] == ((8, 6), (8, 6)) and found["argmax"].shape == (48,)
    assert model.preview(batch).shape == (64, 96, 3)
    assert model(mode="probe", **batch)[0]["attention"].keys() == {"correlation"}


def test_the_garment_is_pasted_once(make, batch_of):
    """Where its mask is soft, the picture is that much garment and the rest agnostic person."""
    model = make(network={**NETWORK, "type": "PlacesNetwork"}, refinement=None).eval()
    batch = batch_of(model)
    batch["garment_mask"] = torch.full_like(batch["garment_mask"], 0.5)  # half white already
    with torch.no_grad():
        mask = model.warp(batch).warped_mask
        image = model.predict(batch)[0]["image"]
        garment = (batch["garment"] * 0.5 + 0.5)[0]
    expected = garment * mask[0] + batch["agnostic"][0] * (1 - mask[0])
    expected = ((expected + 1) * 127.5).permute(1, 2, 0).numpy()
    assert 0.2 < mask.mean() < 0.3
    assert np.abs(image - expected).max() <= 1


def test_a_pair_does_not_depend_on_its_batch(make, batch_of):
    """In float64: in float32 the noise pictures' slopes make 1e-5 of a flow's last bits."""
    model = make().eval().double()

    def warp(numbers):
        batch = batch_of(model, numbers)
        for name, value in batch.items():
            if torch.is_tensor(value) and value.is_floating_point():
                batch[name] = value.double()
        return model.warp(batch)

    with torch.no_grad():
        whole, alone = warp((0, 1)), warp((1,))
    assert whole.warped.dtype == torch.float64
    torch.testing.assert_close(whole.flow[1:], alone.flow, rtol=0, atol=1e-12)
    torch.testing.assert_close(whole.warped[1:], alone.warped, rtol=0, atol=1e-10)


def test_every_parameter_trains(make, batch_of):
    model = make()
    batch = batch_of(model)
    optimiser = torch.optim.SGD(model.parameters(), 1e-2)
    for step in range(2):  # the smoothing's first layers wait for its last
        optimiser.zero_grad()
        losses = model.loss(batch, step)
        total(losses).backward()
        optimiser.step()
    names = {"loss_correlation", "loss_flow", "loss_l1", "correlation_value", "flow_value"}
    assert names <= losses.keys()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


ABLATION = {
    "neither": dict(start="identity", attention_losses={}, flow_loss=None, probe=None),
    "correlation": dict(attention_losses={}, flow_loss=None),
    "regularisation": dict(start="identity", attention_losses={}, probe=None),
    "both": {},
    "matches in place of the flow": dict(
        attention_losses=dict(
            regularisation=dict(type="CorrelationRegularizationLoss", truth="correspondences"),
            keypoints=dict(type="KeypointAttentionLoss"),
        ),
        flow_loss=dict(type="FlowRegressionLoss", truth="correspondences"),
    ),
}


@pytest.mark.parametrize("row", ABLATION)
def test_every_row_of_the_ablation_learns(make, batch_of, row):
    model = make(**ABLATION[row])
    batch = batch_of(model)
    if row == "matches in place of the flow":
        del batch["flow"]
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    values = []
    for step in range(6):
        optimiser.zero_grad()
        value = total(model.loss(batch, step))
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0]
    assert model.supervised_layers == ([] if not model.attention_losses else ["correlation"])


def test_identity_start_begins_at_the_identity(make, batch_of):
    model = make(**ABLATION["neither"])
    for scale in model.refinement.scales:
        torch.nn.init.zeros_(scale.head[-1].weight)
        torch.nn.init.zeros_(scale.head[-1].bias)
    batch = batch_of(model)
    batch["garment_mask"] = torch.ones_like(batch["garment_mask"])
    torch.testing.assert_close(model.warp(batch).warped, batch["garment"], rtol=0, atol=1e-5)


def test_labels_are_scaled_as_asked(make, batch_of):
    model = make(label_scale=10.0)
    batch = batch_of(model)
    maps = model.densepose(batch, "iuv")
    torch.testing.assert_close(maps[:, 0], batch["iuv"][:, 0] * 10.0)
    torch.testing.assert_close(maps[:, 1:], batch["iuv"][:, 1:] / 255)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(start="zero"), "start 'zero' is none of correlation, identity"),
        (dict(size=(30, 24)), "size 30x24 must be multiples of 4"),
        (dict(start="identity"), "start='identity' computes no correlation"),
        (ABLATION["neither"] | dict(refinement=None), "without a refinement warps nothing"),
        (dict(attention_losses=dict(my_loss={})), "call 'my_loss' something without 'loss'"),
    ],
)
def test_wrong_settings(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_missing_maps_and_other_sizes_are_named(make, batch_of):
    model = make()
    batch = batch_of(model)
    with pytest.raises(ValueError, match="reads 'garment_iuv', which the batch lacks"):
        model(mode="predict", **{k: v for k, v in batch.items() if k != "garment_iuv"})
    with pytest.raises(ValueError, match="scale_weights has 2 numbers, and there are 3 scales"):
        make(scale_weights=(1.0, 5.0))(mode="loss", **batch)
    batch["person"] = batch["person"][..., :20]
    with pytest.raises(ValueError, match="for pictures of 32x24, the batch has 32x20"):
        model(mode="loss", **batch)
