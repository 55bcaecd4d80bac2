"""Text of a config reads back as the same config, for every shipped one."""

import ast

import pytest
from mmengine.config import Config

from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.config.names import shipped
from vtonlab.engine.config.text import WIDTH, config_text


@pytest.mark.parametrize("name", shipped()[::5])
def test_reads_back_equal(name, tmp_path):
    values = finalize(load_config(name), work_dir="x").to_dict()
    (tmp_path / "again.py").write_text(config_text(values))
    assert Config.fromfile(tmp_path / "again.py").to_dict() == values


def test_values_of_every_kind():
    values = dict(a=(1,), b=[], c={}, d={"x y": [1.5, None, True]}, e="it's", f={"if": 1}, g={3: 4})
    space: dict = {}
    exec(config_text(values), {}, space)
    assert space == values
    text = config_text(dict(x=float("inf"), y=float("nan")))
    exec(text, {}, space)
    assert space["x"] == float("inf") and space["y"] != space["y"]


def test_lines_are_broken_where_they_are_long():
    text = config_text(dict(model=dict(layers=["transformer_blocks"] * 12, size=(64, 48))))
    assert "    size=(64, 48),\n" in text and ast.parse(text)
    assert max(map(len, text.splitlines())) < WIDTH
