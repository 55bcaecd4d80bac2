"""Sentences and exit codes."""

import argparse
import errno

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vtonlab.engine.cli import add_cfg_options, at_least, run_tool, sentence
from vtonlab.engine.running.loops import LoaderError


class Broken(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index):
        raise ValueError("00017_00.jpg is truncated: replace it")


def test_an_error_in_a_worker_is_its_last_line():
    with pytest.raises(ValueError) as error:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert "\n" in str(error.value)
    assert sentence(error.value) == "00017_00.jpg is truncated: replace it"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (ValueError("two\nlines"), 2, "error: two lines"),
        (FileNotFoundError("no such file"), 2, "error: no such file"),
        (OSError("x.pth needs 9 bytes and the disk has 3 free"), 2, "3 free"),
        (ImportError('Please run "pip install wandb" to install wandb'), 2, "error: Please run"),
        (FloatingPointError("the loss is nan"), 1, "error: the loss is nan"),
        (torch.OutOfMemoryError("tried 2 GiB"), 1, "accumulative_counts"),
        (RuntimeError("[enforce fail] can't allocate memory: 9 bytes"), 1, "--amp"),
        (LoaderError("a loader worker died"), 1, "error: a loader worker died"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes(error, code, message, capsys):
    def main() -> int:
        if error is not None:
            raise error
        return 0

    with pytest.raises(SystemExit) as stop:
        run_tool(main)
    err = capsys.readouterr().err
    assert stop.value.code == code and message in err and "Traceback" not in err


def test_the_traceback_can_be_had(capsys, monkeypatch):
    monkeypatch.setenv("VTONLAB_TRACEBACK", "1")
    with pytest.raises(SystemExit):
        run_tool(lambda: int("x"))
    assert "Traceback" in capsys.readouterr().err


def test_options_take_lists_and_dictionaries(capsys):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    words = ["a.b=1", "c=[2,3]", "d={e: x, f: {g: True}}", "h=i=j"]
    found = parser.parse_args(["--cfg-options", *words]).cfg_options
    assert found == {"a.b": 1, "c": [2, 3], "d": {"e": "x", "f": {"g": True}}, "h": "i=j"}
    with pytest.raises(SystemExit):
        parser.parse_args(["--cfg-options", "d={e: "])
    assert "write a dictionary as '{a: 1, b: x}'" in capsys.readouterr().err


def test_whole_numbers_from_one_on(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=at_least(1))
    assert parser.parse_args(["--tries", "1"]).tries == 1
    for text, said in (("0", "must be at least 1, not 0"), ("x", "invalid number value: 'x'")):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(["--tries", text])
        assert stop.value.code == 2
        assert f"argument --tries: {said}" in capsys.readouterr().err


def test_a_full_disk_names_the_way_out():
    error = OSError(errno.ENOSPC, "No space left on device")
    assert sentence(error).endswith(
        "No space left on device): free some, then run the same command again"
    )
