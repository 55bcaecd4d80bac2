"""make_synthetic: killed or not, one worker or two, the same bytes; bad input in one sentence."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "make_synthetic.py"
COUNT = 12


def command(out: Path, *options: str) -> list[str]:
    fixed = ["--layout", "vitonhd", "--out", str(out), "--count", str(COUNT), "--size", "64x48"]
    return [sys.executable, str(TOOL), *fixed, *options]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(monkeypatch, args: list[str]) -> int:
    """The tool in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", args[1:])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOL), run_name="__main__")
    return ended.value.code or 0


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def photographs(root: Path) -> int:
    return len(list(root.glob("*/image/*.jpg")))


def test_killed_and_resumed_equals_undisturbed(tmp_path, monkeypatch, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    child = subprocess.Popen(
        command(broken, "--workers", "2"),
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while photographs(broken) < COUNT // 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    left = photographs(broken)
    assert 0 < left < COUNT, "the kill came too early or too late to prove anything"
    assert run(monkeypatch, command(broken)) == 0
    assert "0 were there" not in capsys.readouterr().out
    assert run(monkeypatch, command(whole)) == 0
    assert f"{COUNT} written, 0 were there" in capsys.readouterr().out
    assert tree(broken) == tree(whole)


def test_bad_input_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    for options, words in (
        ((), "not empty"),
        (("--workers", "0"), "--workers must be at least 1"),
        (("--count", "1"), "too small"),
    ):
        assert run(monkeypatch, command(tmp_path, *options)) == 2
        text = capsys.readouterr().err
        assert words in text and "Traceback" not in text and len(text.splitlines()) == 1


def test_help_has_an_example_and_sizes_are_checked(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, [sys.executable, str(TOOL), "--help"]) == 0
    assert "python tools/make_synthetic.py --layout" in capsys.readouterr().out
    assert run(monkeypatch, command(tmp_path, "--size", "256")) == 2
    assert "height x width" in capsys.readouterr().err
