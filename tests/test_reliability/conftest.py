"""The toy run's fixtures, and the measurements of the report card."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/test_engine"))  # toy.py, under --import-mode=importlib
sys.path.insert(0, str(ROOT / "tools"))  # the package `reliability`

from toy_fixtures import *  # noqa: E402, F403
from toy_fixtures import _toy_config  # noqa: E402, F401
