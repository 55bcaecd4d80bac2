"""Configs of other people that inherit ours, from a folder of their own."""

import pytest

from vtonlab.engine.config.load import finalize, load_config, run_name
from vtonlab.engine.config.names import find_config, shipped

OURS = "coral/dit_synthetic"
LAZY = """
from mmengine.config import read_base

with read_base():
    from vtonlab.configs.coral.dit_synthetic import *
train_cfg.update(max_iters=7)
"""
LISTED = """
_base_ = ["vtonlab::coral/dit_synthetic"]
train_cfg = dict(max_iters=7)
"""


@pytest.mark.parametrize("safe", [False, True])
def test_a_config_elsewhere_inherits_ours(tmp_path, safe):
    """The lazy dialect; also where no code may run."""
    path = tmp_path / "mine.py"
    path.write_text(LAZY)
    _same_as_ours_but_for_the_iterations(load_config(path, safe=safe))


@pytest.mark.parametrize(
    "name", ["vtonlab::coral/dit_synthetic", "vtonlab::coral/dit_synthetic.py"]
)
def test_the_older_dialect_inherits_ours(tmp_path, name):
    path = tmp_path / "mine.py"
    path.write_text(LISTED.replace("vtonlab::coral/dit_synthetic", name))
    _same_as_ours_but_for_the_iterations(load_config(path))
    (tmp_path / "grandchild.py").write_text('_base_ = ["mine.py"]\nmodel = dict(size=[96, 72])\n')
    assert load_config(tmp_path / "grandchild.py").model.size == [96, 72]


def _same_as_ours_but_for_the_iterations(config):
    ours = load_config("coral/dit_synthetic")
    assert config.train_cfg.max_iters == 7
    config.train_cfg.max_iters = ours.train_cfg.max_iters
    assert finalize(config, work_dir="x").to_dict() == finalize(ours, work_dir="x").to_dict()


def test_ours_are_found_by_name():
    assert "coral/dit_synthetic" in shipped() and len(shipped()) > 40
    for name in (
        "coral/dit_synthetic",
        "configs/coral/dit_synthetic.py",
        "vtonlab::coral/dit_synthetic",
    ):
        assert find_config(name).name == "dit_synthetic.py"
        assert str(run_name(name)) == "coral/dit_synthetic"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('_base_ = ["vtonlab::coral/dit_sinthetic"]', "did you mean coral/dit_synthetic"),
        ('_base_ = ["gone.py"]', "its base gone.py is not beside it"),
        ('_base_ = ["me.py"]', "reads itself"),
        ("_base_ = [open('x').read()]", "plain list of names"),
    ],
)
def test_a_wrong_base_is_named(tmp_path, text, words):
    (tmp_path / "me.py").write_text(text + "\n")
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_config(tmp_path / "me.py")
