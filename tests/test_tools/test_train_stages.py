"""tools/train_stages.py: weights go from stage to stage; what is done is not done again."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from vtonlab.engine.checkpoints.files import read_checkpoint, read_meta
from vtonlab.engine.cli import run_tool

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/test_engine"))
import toy  # noqa: E402


@pytest.fixture
def stages(tmp_path, monkeypatch, capsys):
    """``stages(*arguments)`` -> (exit code, stdout, stderr), in a folder with two toy stages."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "configs/_base_/default_runtime.py", tmp_path / "default_runtime.py")
    text = toy.TEXT.format(base=".default_runtime") + "custom_imports = dict(imports=['toy'])\n"
    text = text.replace("max_iters=20", "max_iters=6") + "log_level = 'ERROR'\n"
    (tmp_path / "low.py").write_text(text)
    still = text + "optim_wrapper['optimizer']['lr'] = 0.0\nparam_scheduler = []\n"
    (tmp_path / "high.py").write_text(
        still + "model['size'] = 16\nload_other_size = True\nload_from = 'given by the tool'\n"
    )
    (tmp_path / "strict.py").write_text(still + "model['size'] = 16\n")
    spec = importlib.util.spec_from_file_location("train_stages", ROOT / "tools/train_stages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["train_stages.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run_tool(module.main)
        out = capsys.readouterr()
        return stop.value.code, out.out, out.err

    return run


def test_a_stage_that_holds_the_one_before_gets_it_as_a_part():
    spec = importlib.util.spec_from_file_location("train_stages", ROOT / "tools/train_stages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = Config(dict(load_from=None, load_parts=dict(warping="old")))
    module.hand_over(config, "new")
    assert config.load_parts == dict(warping="new") and config.load_from is None
    config.load_parts = dict(warping="old", other="old")
    with pytest.raises(ValueError, match=r"loads 2 parts \(warping, other\)"):
        module.hand_over(config, "new")


def weights(path):
    return read_checkpoint(path)["state_dict"]


def test_each_stage_starts_from_the_one_before_and_none_is_done_twice(stages):
    code, out, err = stages("low.py", "high.py")
    assert code == 0, err
    assert "stage 2 of 2, high: 0 of 6 iterations done" in out
    low, high = weights("work_dirs/low/iter_6.pth"), weights("work_dirs/high/iter_6.pth")
    for name, value in weights("work_dirs/low/model.safetensors").items():
        assert torch.equal(value, high[name])  # high does not learn: it was handed over
    written = Path("work_dirs/low/iter_6.pth").stat().st_mtime_ns
    code, out, _ = stages("low.py", "high.py")
    assert code == 0
    assert out.count("6 of 6 iterations done") == 2
    assert Path("work_dirs/low/iter_6.pth").stat().st_mtime_ns == written
    assert set(low) == set(high)


def test_an_unfinished_stage_is_resumed(stages):
    assert stages("low.py", "--cfg-options", "train_cfg.max_iters=3")[0] == 0
    code, out, err = stages("low.py", "high.py")
    assert code == 0, err
    assert "low: 3 of 6 iterations done" in out
    assert Path("work_dirs/low/iter_6.pth").is_file()


def test_a_stage_without_its_weights_is_not_finished(stages):
    """Stopped between its last checkpoint and the export, or exported before it was lengthened."""
    assert stages("low.py")[0] == 0
    Path("work_dirs/low/model.safetensors").unlink()
    code, _, err = stages("low.py", "high.py")
    assert code == 0, err
    assert read_meta("work_dirs/low/model.safetensors")["iter"] == 6
    again = ("--cfg-options", "train_cfg.max_iters=8")
    export = Path("work_dirs/low/model.safetensors").read_bytes()
    assert stages("low.py", *again)[0] == 0
    Path("work_dirs/low/model.safetensors").write_bytes(export)
    assert stages("low.py", *again)[0] == 0
    assert read_meta("work_dirs/low/model.safetensors")["iter"] == 8


def test_another_size_must_be_asked_for(stages):
    code, _, err = stages("low.py", "strict.py")
    assert code == 2
    assert "another method or size" in err


def test_bad_input_is_found_before_the_first_stage(stages):
    code, _, err = stages("low.py", "low.py")
    assert code == 2
    assert "share a folder: low, low" in err
    Path("wrong.py").write_text(Path("low.py").read_text() + "train_cgf = dict()\n")
    code, _, err = stages("low.py", "wrong.py")
    assert code == 2
    assert "train_cgf" in err
    assert not Path("work_dirs/low").exists()
    text = Path("low.py").read_text() + "load_parts = dict(a='a.pth', b='b.pth')\n"
    Path("parts.py").write_text(text)
    code, _, err = stages("low.py", "parts.py")
    assert code == 2 and "loads 2 parts (a, b)" in err
    assert not Path("work_dirs/low").exists()
