"""A tool that is started by the wrong Python says so in one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("tool", ["train.py", "convert/coral.py"])
def test_a_bare_python_is_told_how_to_enter_the_environment(tool):
    bare = [sys.executable, "-I", "-S", ROOT / "tools" / tool, "configs/coral/dit_synthetic.py"]
    done = subprocess.run(bare, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "has no torch" in line
    assert ".venv/bin/activate" in line
