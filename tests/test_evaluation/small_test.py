"""A small model tested on rendered people, as tools/test.py does it; also a program for processes.

python small_test.py FOLDER OUT COUNT BATCH_SIZE LAUNCHER [KILL_AFTER]
"""

import os
import signal
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
SIZE = (32, 24)


def small_config(folder: Path, count: int = 6, batch_size: int = 4):
    """The synthetic config of CORAL at 32x24, with a thin network and two sampling steps."""
    from vtonlab.engine.config.load import load_config

    config = load_config(ROOT / "configs/coral/dit_synthetic.py")
    config.model.size = SIZE
    config.model.sampler.num_steps = 2
    config.model.backbone.num_single_layers = 1
    for loader in ("train_dataloader", "test_dataloader"):
        config[loader].dataset.update(size=SIZE, length=count, cache_dir=str(folder / "people"))
    config.test_dataloader.batch_size = batch_size
    config.log_level = "ERROR"
    config.visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
    return config


def save_checkpoint(folder: Path) -> Path:
    """Weights of an untrained model, once per folder."""
    from vtonlab.engine.checkpoints.files import save_checkpoint_file
    from vtonlab.registry import MODELS

    path = folder / "untrained.pth"
    if not path.is_file():
        torch.manual_seed(0)
        model = MODELS.build(small_config(folder).model.to_dict())
        save_checkpoint_file({"state_dict": model.state_dict(), "meta": {}}, path)
    return path


def run(
    folder: Path, out: Path, count=6, batch_size=4, launcher="none", kill_after=None, **settings
):
    """Test; with ``kill_after`` the process kills itself after that many pairs."""
    from mmengine.hooks import Hook

    from vtonlab.engine.config.load import finalize
    from vtonlab.engine.testing.run import test
    from vtonlab.registry import HOOKS

    @HOOKS.register_module(force=True)
    class KillItself(Hook):
        def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if batch_idx == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    config = small_config(folder, count, batch_size)
    if kill_after is not None:
        config.custom_hooks = [dict(type="KillItself", priority="LOWEST")]
    finalize(config, work_dir=str(out), launcher=launcher)
    return test(config, str(save_checkpoint(folder)), out, **settings)


if __name__ == "__main__":
    places, numbers = [Path(a) for a in sys.argv[1:3]], [int(a) for a in sys.argv[3:5]]
    more = [int(a) for a in sys.argv[6:]]  # pairs before it kills itself (-1: never), attention
    after = more[0] if more and more[0] >= 0 else None
    saved = more[1] if len(more) > 1 else 0
    run(*places, *numbers, launcher=sys.argv[5], kill_after=after, save_attention=saved)
