"""The toy run's fixtures; see toy_fixtures.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # toy.py, under --import-mode=importlib

from toy_fixtures import *  # noqa: F403
from toy_fixtures import _toy_config  # noqa: F401
