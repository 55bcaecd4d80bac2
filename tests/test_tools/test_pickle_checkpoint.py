"""tools/convert/pickle_checkpoint.py: only when told to, and nothing but data comes out."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from vtonlab.engine.checkpoints.files import read_checkpoint
from vtonlab.engine.cli import run_tool

TOOL = Path(__file__).parents[2] / "tools/convert/pickle_checkpoint.py"


@pytest.fixture
def convert(monkeypatch):
    spec = importlib.util.spec_from_file_location("pickle_checkpoint", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*arguments) -> int:
        monkeypatch.setattr(sys, "argv", ["pickle_checkpoint.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run_tool(module.main)
        return stop.value.code

    return call


def test_it_wants_the_flag(convert, tmp_path, capsys):
    old = tmp_path / "old.ckpt"
    torch.save({"state_dict": {}, "path": Path("x")}, old)
    assert convert(old, old.with_suffix(".pth")) == 2
    assert "--i-trust-this-file" in capsys.readouterr().err
    assert not old.with_suffix(".pth").exists()


def test_data_is_kept_and_classes_are_dropped_by_name(convert, tmp_path, capsys):
    old = tmp_path / "old.ckpt"
    weights = {"a": torch.arange(3.0), "b": torch.ones(2, 2).half()}
    content = {"state_dict": weights, "epoch": 4, "hyper": {"lr": 0.1, "path": Path("x")}}
    torch.save(content, old)
    assert convert(old, tmp_path / "new.pth", "--i-trust-this-file") == 1
    assert "dropped hyper.path (PosixPath)" in capsys.readouterr().out
    new = read_checkpoint(tmp_path / "new.pth")
    assert new["epoch"] == 4 and new["hyper"] == {"lr": 0.1}
    assert all(torch.equal(new["state_dict"][k], v) for k, v in weights.items())

    assert convert(old, tmp_path / "new.safetensors", "--i-trust-this-file") == 1
    state = read_checkpoint(tmp_path / "new.safetensors")["state_dict"]
    assert all(torch.equal(state[k], v) for k, v in weights.items())


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04", b"\x80\x02?"])
def test_what_is_no_checkpoint_is_a_sentence(convert, tmp_path, capsys, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    assert convert(tmp_path / "x.ckpt", tmp_path / "new.pth", "--i-trust-this-file") == 2
    assert "x.ckpt: " in capsys.readouterr().err


def test_bad_input_is_a_sentence(convert, tmp_path, capsys):
    torch.save({"state_dict": [torch.ones(1)]}, tmp_path / "list.pth")
    assert convert(tmp_path / "list.pth", tmp_path / "x.safetensors", "--i-trust-this-file") == 2
    assert "holds no weights" in capsys.readouterr().err
    assert convert(tmp_path / "none.pth", tmp_path / "x.pth", "--i-trust-this-file") == 2
    assert "no checkpoint at" in capsys.readouterr().err
