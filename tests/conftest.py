"""Shared fixtures: no network, and the folder of real photographs where there is one."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")


@pytest.fixture
def real_data() -> Path:
    """Folder of real photographs (``VTONLAB_REAL_DATA``); without it the test is skipped."""
    root = os.environ.get("VTONLAB_REAL_DATA", "")
    if not root or not Path(root).is_dir():
        pytest.skip("VTONLAB_REAL_DATA does not point to a folder of test photographs")
    return Path(root)
