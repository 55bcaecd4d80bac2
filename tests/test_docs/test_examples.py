"""The files that the pages "How to add" show."""

import numpy as np
import pytest
import torch
from PIL import Image

from vtonlab.registry import ATTENTION_LOSSES, DATASETS, ESTIMATORS, METRICS
from vtonlab.structures import AttentionRecord, Correspondences
from vtonlab.structures.correspondences import cell_centres
from vtonlab.synthetic import SyntheticTryOn
from vtonlab.utils.plugins import import_plugins


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """As a config's ``custom_imports`` finds them, from the root of the repository."""
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    import_plugins([f"docs.examples.{n}" for n in ("loss", "data_set", "metric", "estimator")])


def test_the_loss_is_the_distance_and_has_a_gradient():
    loss = ATTENTION_LOSSES.build(dict(type="PointDistanceLoss", weight=2.0))
    torch.manual_seed(0)
    query = torch.randn(2, 2, 12, 8, dtype=torch.float64, requires_grad=True)
    key = torch.randn(2, 2, 12, 8, dtype=torch.float64)
    record = AttentionRecord(
        name="block", query=query, key=key, query_grid=(4, 3), key_grid=(4, 3), scale=0.3
    )
    place = cell_centres((4, 3))
    matches = [
        Correspondences(place[[5]], place[[7]], torch.ones(1)),
        Correspondences.empty(),
    ]
    found = loss([record], {"correspondences": matches}, timesteps=torch.zeros(2), step=0)
    looked = torch.softmax(0.3 * query[0] @ key[0].transpose(-1, -2), -1) @ place.double()
    expected = (looked.mean(0)[5] - place[7]).abs().sum()  # mean over heads, L1
    assert torch.allclose(found["loss"], 2.0 * expected / 2, rtol=1e-12)  # float64, a dozen sums
    found["loss"].backward()
    assert query.grad[0].abs().sum() > 0 and query.grad[1].abs().sum() == 0


def test_the_data_set_reads_three_folders(tmp_path):
    sample = SyntheticTryOn(size=(64, 48), split="test", length=2)[0]
    for folder, ending in (("person", "jpg"), ("garment", "jpg"), ("mask", "png")):
        (tmp_path / folder).mkdir()
        picture = sample[folder] if folder != "mask" else sample["mask"] * 255
        Image.fromarray(picture).save(tmp_path / folder / f"anna.{ending}")
    data = DATASETS.build(dict(type="ThreeFolders", data_root=str(tmp_path), size=(32, 24)))
    found = data[0]
    assert len(data) == 1 and found["id"] == "anna" and found["person"].shape == (32, 24, 3)
    assert (
        set(np.unique(found["mask"])) == {0, 1}
        and found["agnostic"][found["mask"] > 0].max() == 128
    )
    with pytest.raises(FileNotFoundError, match="set data_root"):
        DATASETS.build(dict(type="ThreeFolders", data_root=str(tmp_path / "none")))


def test_the_metric_is_zero_for_the_truth_and_none_without_a_mask():
    metric = METRICS.build(dict(type="EdgeError"))
    sample = SyntheticTryOn(size=(64, 48), split="test", length=2)[0]
    pair = dict(id="a", target=sample["person"], mask=sample["mask"])
    assert metric.score(dict(pair, image=sample["person"]))["edge_error"] == 0
    assert metric.score(dict(pair, image=sample["agnostic"]))["edge_error"] > 0
    empty = dict(pair, image=sample["person"], mask=np.zeros_like(sample["mask"]))
    assert metric.score(empty)["edge_error"] is None


def test_the_estimator_finds_a_rendered_garment():
    estimator = ESTIMATORS.build(dict(type="ColourfulGarment"))
    people = SyntheticTryOn(size=(64, 48), split="test", length=6, categories=["upper_body"])
    shares = []
    for index in range(3):
        sample = people[index]
        found, true = estimator(sample["garment"]) > 0, sample["garment_mask"] > 0
        shares.append((found & true).sum() / (found | true).sum())
    assert np.mean(shares) > 0.8
