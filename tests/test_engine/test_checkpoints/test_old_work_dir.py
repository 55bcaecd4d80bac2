"""A work directory written by version 0.1.0 (commit 194ae9d), six of twelve steps, continues.

``tests/old_work_dir`` is the toy run of ``tests/test_engine/toy.py`` with ``model.drop=0`` and seed
3, as that commit left it.
"""

import copy
import shutil
from pathlib import Path

import pytest
import torch

from vtonlab.engine.checkpoints.files import find_problem, read_checkpoint
from vtonlab.engine.config.load import finalize
from vtonlab.engine.running.training import train

OLD = Path(__file__).parents[2] / "old_work_dir"


@pytest.fixture
def config(toy_config):
    toy_config.train_cfg.max_iters = 12
    toy_config.model.drop = 0.0
    toy_config.default_hooks.checkpoint.interval = 6
    return toy_config


def test_its_checkpoint_is_whole():
    assert find_problem(OLD / "iter_6.pth") is None
    assert read_checkpoint(OLD / "iter_6.pth")["meta"]["iter"] == 6


def test_it_resumes_where_it_stopped(config, tmp_path):
    work = tmp_path / "old"
    shutil.copytree(OLD, work)
    (work / "last_checkpoint").write_text("iter_6.pth")
    whole = train(finalize(copy.deepcopy(config), work_dir=str(tmp_path / "whole"), seed=3))
    config.resume = True
    resumed = train(finalize(config, work_dir=str(work), seed=3))
    assert resumed.iter == 12 and (work / "iter_12.pth").is_file()
    expected = whole.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        # float32; the first six steps are another processor's: 6 steps x 1e-3 (Adam) x 2^-20
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5, msg=name)
