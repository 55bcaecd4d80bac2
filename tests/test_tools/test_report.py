"""tools/report.py: from folders to a page, and what it refuses."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vtonlab.engine.cli import run_tool

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_results import fake_results

ROOT = Path(__file__).parents[2]


def report(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "tools/report.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_makes_a_page_of_two_systems(tmp_path):
    fake_results(tmp_path / "a" / "test", "plain", attention=1)
    fake_results(tmp_path / "b" / "test", "sharp", attention=1, skill=1.0)
    rates = dict(plain=dict(rate=0.625, ci95=[0.5, 0.75], n=40))
    study = dict(answers=40, raters=5, systems=["plain"], win_rates=rates)
    (tmp_path / "a/test/study.json").write_text(json.dumps(study))
    done = report(f"first={tmp_path / 'a'}", tmp_path / "b", "--title", "Two & two")
    assert done.returncode == 0, done.stderr
    assert "paired, ours: first, sharp (6 pairs)" in done.stdout
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "<title>Two &amp; two</title>" in page
    assert "40 answers of 5 people" in page  # of the study that lies beside the results


def test_refuses_folders_without_results(tmp_path, capsys, monkeypatch):
    """Inside this process, where the imports are paid for."""
    spec = importlib.util.spec_from_file_location("report_tool", ROOT / "tools/report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(sys, "argv", ["report.py", str(tmp_path / "empty")])
    with pytest.raises(SystemExit) as stop:
        run_tool(module.main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert "holds no results.json: make one with tools/test.py" in error
