"""The denoising loss of held-out pairs: what is asked, and how it is averaged."""

import numpy as np
import pytest
import torch

from vtonlab.evaluation import AttentionPCK, DenoisingLoss
from vtonlab.evaluation.base import NotComputableError
from vtonlab.structures import Correspondences


def test_levels_and_their_mean():
    metric = DenoisingLoss()
    metric.process(
        {}, [{"denoising": {0.25: 1.0, 0.75: 3.0}}, {"denoising": {0.25: 2.0, 0.75: 6.0}}]
    )
    found = metric.compute_metrics(metric.results)
    assert found == {
        "denoising_loss": 3.0,
        "denoising_loss/0.25": 1.5,
        "denoising_loss/0.75": 4.5,
    }
    with pytest.raises(NotComputableError, match="val_sigmas"):
        metric.process({}, [{"id": "a"}])


def test_agreement_with_matches_where_there_is_no_flow():
    """Two persons' tokens have matches; one looks within a token of the mean of its own."""
    person = torch.tensor([[0.1, 0.1], [0.15, 0.1], [0.9, 0.9]])
    garment = torch.tensor([[0.1, 0.1], [0.2, 0.2], [0.9, 0.9]])
    matches = Correspondences(person, garment)
    argmax = torch.zeros(16, dtype=torch.int64)  # all look at the first token
    attention = dict(argmax=argmax, mass=torch.ones(16), grids=((4, 4), (4, 4)))
    metric = AttentionPCK(truth="correspondences")
    assert metric.needs == ("attention", "correspondences")
    metric.process({}, [{"attention": {"layer": attention}, "correspondences": matches}])
    found = metric.compute_metrics(metric.results)
    assert found["attention_pck_queries"] == 2 and found["attention_pck"] == 0.5
    with pytest.raises(ValueError, match="correspondences in the data"):
        metric.process({}, [{"attention": {"layer": attention}}])
    with pytest.raises(ValueError, match="choose 'flow' or"):
        AttentionPCK(truth="matches")


def test_the_model_answers_alike_whenever_it_is_asked():
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[1] / "test_models/conftest.py"
    spec = importlib.util.spec_from_file_location("samples_of_models", path)
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    make, sample = tiny.make_model.__wrapped__(), tiny.sample
    from vtonlab.structures.sample import collate

    model = make(val_sigmas=[0.25, 0.75]).eval()
    with pytest.raises(ValueError, match="between 0 and 1"):
        make(val_sigmas=[1.0])
    batch = collate([sample(0), sample(1)])
    first, again = model.val_step(batch), model.val_step(batch)
    alone = model.val_step(collate([sample(1)]))
    errors = [list(result["denoising"].values()) for result in first]
    assert errors == [list(result["denoising"].values()) for result in again]
    # float32: another batch size sums in another order
    assert np.allclose(list(alone[0]["denoising"].values()), errors[1], rtol=1e-4)
    assert set(first[0]["denoising"]) == {0.25, 0.75} and "image" not in first[0]
    assert not model.conditioner.training
