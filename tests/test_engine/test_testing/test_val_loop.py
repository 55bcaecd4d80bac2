"""Validation with pictures: drawn for metrics that need them, checked before training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vtonlab.datasets.samplers import SampleKey
from vtonlab.engine import finalize, load_config, train
from vtonlab.engine.testing.val_loop import at_most, spread
from vtonlab.evaluation.image_errors import l1_inside
from vtonlab.structures.sample import collate

ROOT = Path(__file__).parents[3]


@pytest.fixture
def small(tmp_path):
    """CORAL's toy config, four iterations of four rendered people."""
    options = {
        "train_cfg.max_iters": 4,
        "train_cfg.val_interval": 2,
        "train_dataloader.dataset.length": 4,
        "val_dataloader.dataset.length": 5,
        "log_level": "ERROR",
        "custom_hooks": [],
        "val_cfg": dict(pictures=3, steps=2),
    }
    config = load_config(ROOT / "configs/coral/dit_synthetic.py", options)
    for loader in ("train_dataloader", "val_dataloader"):
        config[loader].dataset.cache_dir = str(tmp_path / "people")
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    config.val_evaluator = [*config.val_evaluator, dict(type="ImageErrors")]
    return finalize(config, work_dir=str(tmp_path / "work"))


def test_pictures_are_drawn_and_choose_the_best(small):
    small.default_hooks.checkpoint.update(save_best="l1_inside")  # it says that less is better
    runner = train(small)
    loop = runner.val_loop
    metrics = loop.run()
    assert {"attention_pck", "l1_inside"} <= set(metrics)
    assert metrics["pictures"] == 3
    model, dataset = runner.bare_model.eval(), loop.dataloader.dataset
    batch = collate([dataset[SampleKey(n, n)] for n in (0, 1, 3)])  # evenly spread over five
    with torch.no_grad(), at_most(model, 2):
        drawn = model.test_step(batch)
    errors = [l1_inside(r["image"], r["target"], r["mask"]) for r in drawn]
    assert metrics["l1_inside"] == np.mean(errors)  # the same pictures, so to the bit
    assert model.sampler.num_steps == 4
    folder = Path(small.work_dir)
    best = json.loads((folder / "best.json").read_text())
    assert best["metric"] == "l1_inside"
    assert (folder / best["file"]).is_file()
    loop.dataloader.sampler.restrict(None)
    assert len(loop.dataloader.sampler) == 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(val_evaluator=[dict(type="WarpedGarmentIoU")]), "val_evaluator: .*warped_mask"),
        (dict(val_evaluator=[dict(type="FID")]), "one row per pair.*protocol"),
        (dict(best="nonsense"), "save_best='nonsense' is no metric of this run.*l1_inside"),
        (dict(best="l1_inside_fill"), "which way it is better.*rule="),
        (dict(val_evaluator=None, val_cfg=None, val_dataloader=None, best="l1"), "needs a valid"),
        (dict(sampler=dict(type="DefaultSampler", shuffle=False)), "ImageErrors.*EvalSampler"),
    ],
)
def test_what_validation_cannot_give_is_said_before_the_first_iteration(
    small, monkeypatch, change, sentence
):
    if change.get("val_evaluator") == [dict(type="FID")]:
        from vtonlab.evaluation import distribution

        monkeypatch.setattr(distribution, "shared_features", lambda name: lambda picture: [0.0])
    change = dict(change)
    if "best" in change:
        small.default_hooks.checkpoint.update(save_best=change.pop("best"))
    if "sampler" in change:
        small.val_dataloader.sampler = change.pop("sampler")
    small.update(change)
    with pytest.raises(ValueError, match=sentence):
        train(small)
    assert not list(Path(small.work_dir).glob("*.pth"))


def test_pairs_are_spread_over_the_data():
    assert spread(100, 4) == [0, 25, 50, 75]
    assert spread(3, 8) == [0, 1, 2]
