"""``projects/example_project``: parts from outside the package are found, fit and learn."""

import sys
from pathlib import Path

import pytest
import torch

from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.training import train
from vtonlab.registry import ATTENTION_LOSSES, DATASETS, MATCHERS, MODELS
from vtonlab.structures import AttentionRecord, Correspondences
from vtonlab.structures.sample import collate

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "projects/example_project/configs/clean_garment_synthetic.py"
SIZE = (32, 24)
LAYERS = ["transformer_blocks.1.attn", "single_transformer_blocks.0.attn"]


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
    """``make_config()``: the shipped config at 32x24 pixels and two steps, read anew."""
    folder = tmp_path_factory.mktemp("example")

    def make():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)  # where a user stands
            patch.setattr(sys, "path", list(sys.path))
            config = load_config(CONFIG)
        config.model.size = SIZE
        for loader in (config.train_dataloader, config.test_dataloader):
            loader.batch_size = 2
            loader.dataset.update(size=SIZE, length=4, cache_dir=str(folder / "cache"))
        config.val_dataloader = config.val_evaluator = config.val_cfg = None
        config.train_cfg.max_iters = 2
        config.log_level = "ERROR"
        config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
        return finalize(config, work_dir=str(folder / "run"))

    return make


@pytest.fixture(scope="module")
def batch(make_config) -> dict:
    dataset = DATASETS.build(make_config().train_dataloader.dataset.to_dict())
    return collate([dataset[0], dataset[1]])


def test_readme_tests_the_last_checkpoint(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    last = load_config(CONFIG).train_cfg.max_iters
    readme = (CONFIG.parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"work_dirs/clean_garment_synthetic/iter_{last}.pth" in readme


def test_two_steps_through_the_engine(make_config):
    """As ``tools/train.py`` runs it; the optimiser has seen gradients of the projections."""
    config = make_config()
    runner = train(config)
    assert (Path(config.work_dir) / "iter_2.pth").is_file()
    state = runner.optim_wrapper.optimizer.state
    names = [f"{layer}.to_{part}.weight" for layer in LAYERS for part in "qk"]
    parameters = dict(runner.bare_model.backbone.named_parameters())
    assert all(state[parameters[name]]["exp_avg"].abs().sum() > 0 for name in names)
    assert len(state) == sum(p.requires_grad for p in runner.bare_model.parameters())


def test_its_loss_falls_on_a_fixed_batch_and_reaches_the_projections(make_config, batch):
    torch.manual_seed(0)
    model = MODELS.build(make_config().model.to_dict()).train()
    prepared = model.data_preprocessor(batch)
    projections = {
        f"{layer}.{name}": getattr(model.backbone.get_submodule(layer), name).weight
        for layer in model.supervised_layers
        for name in ("to_q", "to_k")
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(10):
        loss = model(mode="loss", step=step, **prepared)["loss_two_way"]
        optimizer.zero_grad()
        loss.backward()
        if not step:
            for name, weight in projections.items():
                assert weight.grad is not None and weight.grad.abs().sum() > 0, name
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_the_conditioner_draws_the_person_alone(make_config, batch):
    model = MODELS.build(make_config().model.to_dict()).eval()
    prepared = model.data_preprocessor(batch)
    target = model.conditioner.target(prepared, model.encode)
    torch.testing.assert_close(target, model.encode(prepared["person"]))
    conditions = model.conditioner.prepare(prepared, model.encode)
    sigmas = torch.tensor([0.3, 0.9])
    records = []
    for noise in (0.0, 1.0):  # the person panel changes, the garment's keys of block 0 do not
        answer = model.conditioner(
            model.backbone, target + noise, sigmas, conditions, ["transformer_blocks.0.attn"]
        )
        assert answer.sample.shape == target.shape
        records += answer.records
    torch.testing.assert_close(records[0].key, records[1].key)
    assert not torch.allclose(records[0].query, records[1].query)
    results = model.predict(prepared)
    assert results[0]["image"].shape == (*SIZE, 3)


def test_the_loss_is_zero_where_both_ways_look_at_the_match():
    """Diagonal attention, matches on the diagonal; a shift by one cell costs Huber's distance."""
    sharp = 60.0 * torch.eye(6)[None, None]  # (1, 1, 6, 6)
    record = AttentionRecord(
        name="a", query=sharp, key=sharp, query_grid=(2, 3), key_grid=(2, 3), scale=1.0
    )
    x, y = torch.meshgrid(torch.arange(3), torch.arange(2), indexing="xy")
    centres = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) / torch.tensor([3, 2])
    loss = ATTENTION_LOSSES.build(dict(type="TwoWayDistanceLoss", delta=0.05))
    matches = Correspondences(centres, centres, torch.ones(6))

    def value(matches):
        batch = {"correspondences": [matches]}
        return loss([record], batch, timesteps=torch.zeros(1), step=0)["loss"].item()

    assert value(matches) == pytest.approx(0.0, abs=1e-6)
    left, right = x.flatten() == 0, x.flatten() == 1
    shifted = Correspondences(centres[left], centres[right], torch.ones(2))
    assert value(shifted) == pytest.approx(0.05 * (1 / 3 - 0.05 / 2), rel=1e-4)


def test_the_matcher_finds_its_way_on_a_rendered_person(make_config):
    settings = make_config().train_dataloader.dataset.to_dict()
    dataset = DATASETS.build(dict(settings, transforms=None))
    matcher = MATCHERS.build(dict(type="ColourPositionMatcher", cell=2))
    error, guess = [], []
    for number in range(4):
        sample = dataset[number]
        report = matcher.explain(
            *(sample[key] for key in ("person", "garment", "mask", "garment_mask"))
        )
        found = report.matches
        removed = report.counts["mutual"] + report.counts["max_distance"]
        assert report.counts["candidates"] - removed == len(found) > 0
        truth, known = sample["flow"].sample(found.person_points)
        error.append((found.garment_points - truth)[known].abs().sum(-1))
        shuffled = found.garment_points[torch.randperm(len(found))]
        guess.append((shuffled - truth)[known].abs().sum(-1))
    assert torch.cat(error).mean() < 0.75 * torch.cat(guess).mean()


def test_no_garment_no_matches():
    import numpy as np

    picture, empty = np.zeros((16, 12, 3), np.uint8), np.zeros((16, 12), np.uint8)
    matcher = MATCHERS.build(dict(type="ColourPositionMatcher"))
    assert len(matcher(picture, picture, empty, empty + 1)) == 0
    with pytest.raises(ValueError, match="one size"):
        matcher(picture, picture, empty[:8], empty)
