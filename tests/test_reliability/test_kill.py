"""Killed at random moments, one inside a save, a run ends with the bits of a calm one (R3, R37)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy

ROOT = Path(__file__).parents[2]


def kill_and_compare(
    config: Path, folder: Path, *options: str, iterations: int = 60
) -> dict[str, list[str]]:
    """What ``tools/reliability/kills.py`` finds; its seed is in the output of a failing test."""
    command = [sys.executable, str(ROOT / "tools/reliability/kills.py"), str(config)]
    command += ["--folder", str(folder), "--out", str(folder / "found.json")]
    command += ["--iterations", str(iterations)]
    command += ["--options", *options]
    paths = os.pathsep.join([str(ROOT), str(Path(toy.__file__).parent), str(folder)])
    env = dict(os.environ, PYTHONPATH=paths, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    print(result.stdout, result.stderr[-3000:])
    return json.loads((folder / "found.json").read_text())


@pytest.mark.slow
def test_three_kills_change_no_bit_of_the_demo(tmp_path):
    """Half the iterations and batch of ``tools/reliability_report.py --full``."""
    config = ROOT / "configs/coral/dit_synthetic.py"
    options = ["val_dataloader.dataset.length=2", "val_dataloader.batch_size=2"]
    options += ["train_dataloader.batch_size=2", f"train_dataloader.dataset.cache_dir={tmp_path}"]
    found = kill_and_compare(config, tmp_path, *options, iterations=30)
    assert len(found) == 3 and not any(found.values())


SLOW_ENOUGH_TO_KILL = """
import time
class Slow(ToyDataset):
    def __getitem__(self, key):
        time.sleep(0.005)
        return super().__getitem__(key)
DATASETS.register_module(name="ToyDataset", module=Slow, force=True)
"""


@pytest.mark.slow
def test_three_kills_change_no_bit_of_a_run_with_two_optimizers(tmp_path, toy_config_file):
    """The toy, with a wide layer so that a save takes a while and slow samples."""
    (tmp_path / "slow_toy.py").write_text("from toy import *\n" + SLOW_ENOUGH_TO_KILL)
    path = toy_config_file.parent / "toy_kill.py"
    path.write_text(
        toy_config_file.read_text()
        + "model = dict(type='ToyAdversary', hidden=100_000)\n"
        + f"optim_wrapper = {toy.TWO_OPTIMIZERS!r}\nparam_scheduler = None\n"
        + "custom_hooks = [dict(type='EMAHook', ema_type='WarmupEMA', momentum=0.05)]\n"
        + "custom_imports = dict(imports=['slow_toy'])\n"
        + "del test_dataloader, test_cfg, test_evaluator\n"
    )
    found = kill_and_compare(path, tmp_path)
    assert len(found) == 3 and not any(found.values())
