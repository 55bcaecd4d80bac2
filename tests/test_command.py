"""``vtonlab TOOL`` runs the same mains as ``tools/*.py``."""

import sys

import pytest

from vtonlab import __version__
from vtonlab.command import main, overview, tools


def test_every_tool_is_listed_with_a_line():
    found, rows = tools(), overview().splitlines()
    assert {"train", "test", "demo", "convert/leffa", "benchmark/ablate"} <= set(found)
    for name in found:
        line = next(row for row in rows if row.strip().startswith(f"{name} "))
        assert len(line.split()) > 3, f"{name} has no first line"


def test_help_version_and_configs(capsys):
    assert main([]) == 0 and "Tools:" in capsys.readouterr().out
    assert main(["--version"]) == 0 and __version__ in capsys.readouterr().out
    assert main(["configs"]) == 0 and "leffa/unet_vitonhd\n" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "words"), [("trian", "did you mean train"), ("xyz", "--help")])
def test_an_unknown_tool_is_named(name, words, capsys):
    assert main([name]) == 2
    assert words in capsys.readouterr().err


def test_a_tool_gets_its_arguments(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["vtonlab"])
    with pytest.raises(SystemExit) as ended:
        main(["print-config", "--help"])
    assert ended.value.code == 0
    assert "usage: vtonlab print_config" in capsys.readouterr().out
