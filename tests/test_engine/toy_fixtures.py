"""Configs of the toy run, written where a test may change them."""

import copy
import shutil
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Bits depend on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_config_file(tmp_path_factory) -> Path:
    """A config of the toy run that reads the real base config, in a folder of its own."""
    import toy

    folder = tmp_path_factory.mktemp("configs")
    shutil.copy(ROOT / "configs/_base_/default_runtime.py", folder / "default_runtime.py")
    path = folder / "toy_run.py"
    path.write_text(toy.TEXT.format(base=".default_runtime"))
    return path


@pytest.fixture(scope="session")
def _toy_config(toy_config_file):
    from vtonlab.engine import load_config

    return load_config(toy_config_file)


@pytest.fixture
def toy_config(_toy_config, tmp_path):
    """The toy config, fresh and quiet, with a work directory under ``tmp_path``."""
    config = copy.deepcopy(_toy_config)
    config.log_level = "ERROR"
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    config.work_dir = str(tmp_path / "work")
    return config
