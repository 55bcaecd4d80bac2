"""A config's model with a checkpoint's weights, for tools that look at it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from vtonlab.engine.checkpoints.files import is_checkpoint
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.runner import build_runner
from vtonlab.engine.testing.run import drop_training


def test_config(config_file: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """The config, finished, without what only training reads."""
    config = load_config(config_file, options)
    finalize(config)
    drop_training(config)
    return config


def load_model(config: Config, checkpoint: str | Path | None):
    """The model in evaluation mode; ``checkpoint`` is iter_*.pth, model.safetensors or an exported
    folder, None takes the config's own weights.

    Raises:
        FileNotFoundError: there is no such checkpoint.
    """
    config = config.copy()
    if checkpoint is not None:
        if not is_checkpoint(checkpoint):
            raise FileNotFoundError(f"no checkpoint at {checkpoint}: train one with tools/train.py")
        config.load_from = str(checkpoint)
    with tempfile.TemporaryDirectory(prefix="vtonlab-look-") as scratch:
        config.resume, config.work_dir = False, scratch
        config.visualizer, config.log_level = None, "WARNING"
        runner = build_runner(config)
        runner.load_or_resume()
    return runner.bare_model.eval()
