"""``projects/own_family``: a family that is none of ours, in one short file, trains and records."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from vtonlab.attention import list_attention_layers, token_order
from vtonlab.conditioners import ReferenceTokensConditioner
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.training import train
from vtonlab.registry import BACKBONES

ROOT = Path(__file__).parents[2]
FAMILY = ROOT / "projects/own_family/family.py"
CONFIG = ROOT / "projects/own_family/configs/editor_synthetic.py"
GRID, TEXT = (4, 3), 3


def read_config():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # where a user stands
        patch.setattr(sys, "path", list(sys.path))
        return load_config(CONFIG)


@pytest.fixture(scope="module")
def editor():
    read_config()  # imports the plugin
    torch.manual_seed(0)
    return BACKBONES.build(dict(type="AuraEditor", text_dim=8, layers=1))


def test_the_file_is_short():
    assert len(FAMILY.read_text().splitlines()) < 100


def test_it_trains(tmp_path):
    config = read_config()
    config.model.size = (32, 24)
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.batch_size = 2
        loader.dataset.update(size=(32, 24), length=4, cache_dir=str(tmp_path / "cache"))
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.train_cfg.max_iters, config.log_level = 1, "ERROR"
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    runner = train(finalize(config, work_dir=str(tmp_path / "run")))
    state = runner.optim_wrapper.optimizer.state
    parameters = dict(runner.bare_model.backbone.named_parameters())
    for name in ("to_q", "to_k"):
        moments = state[parameters[f"blocks.1.attn.{name}.weight"]]
        assert moments["exp_avg"].abs().sum() > 0, name


def test_its_records_are_of_garment_tokens(editor):
    """AuraFlow's attention calls itself "self": unregistered, keys would be the text's."""
    assert [layer[:2] for layer in list_attention_layers(editor)] == [("blocks.0.attn", "joint")]
    assert token_order(editor, "blocks.0.attn") == "text_first"
    prompt = dict(type="NullPrompt", num_tokens=TEXT, dim=8, pooled_dim=0)
    conditioner = ReferenceTokensConditioner(prompt=prompt)
    names = "person", "garment", "pose", "agnostic"
    batch = {name: torch.rand(1, 3, 16, 12) for name in names} | dict(category=["dresses"])
    noisy = torch.randn(1, 12, 8, 6)

    def record(batch):
        conditions = conditioner.prepare(batch, lambda pictures: F.pixel_unshuffle(pictures, 2))
        sigmas = torch.full((1,), 0.5)
        return conditioner(editor, noisy, sigmas, conditions, ["blocks.0.attn"]).records[0]

    before = record(batch)
    lit = {**batch, "garment": batch["garment"].clone()}
    lit["garment"][:, :, 4:8, 8:12] += 1.0  # token row 1, column 2
    change = (record(lit).key - before.key).abs().amax((0, 1, 3))
    assert (change > 1e-6).nonzero().flatten().tolist() == [1 * GRID[1] + 2]
    assert before.context_key.shape[2] == TEXT + 3 * GRID[0] * GRID[1]
