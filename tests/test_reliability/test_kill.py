"""Killed at random moments, one inside a save, a run ends with the bits of a calm one (R3)."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy

from vtonlab.engine.checkpoint import find_latest, find_problem

ROOT = Path(__file__).parents[2]
CHILD = """
import sys, time
import toy
from vtonlab.engine import checkpoint, finalize, load_config
from vtonlab.engine.training import train
save = checkpoint.save_file
def slow(path, write, **kwargs):
    def write_slowly(temporary):
        write(temporary)
        open(sys.argv[2] + "/saving", "w").close()
        time.sleep(0.05)
    return save(path, write_slowly, **kwargs)
checkpoint.save_file = slow
class Slow(toy.ToyDataset):
    def __getitem__(self, key):
        time.sleep(0.005)
        return super().__getitem__(key)
toy.DATASETS.register_module(name="ToyDataset", module=Slow, force=True)
config = finalize(load_config(sys.argv[1]), work_dir=sys.argv[2])
config.resume = True
train(config)
"""


def start(config: Path, folder: Path, script: Path) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT), str(Path(toy.__file__).parent)])
    env = dict(os.environ, PYTHONPATH=paths, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    command = [sys.executable, str(script), str(config), str(folder)]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_three_kills_change_no_bit(tmp_path, toy_config_file, workers):
    seed = int(time.time())
    print("seed of the kill times:", seed)
    moments = random.Random(seed)
    text = toy_config_file.read_text().replace("max_iters=20", "max_iters=60")
    text = text.replace("num_workers=0", f"num_workers={workers}").replace(
        "interval = 10", "interval = 4"
    )
    text += "custom_hooks = [dict(type='EMAHook', ema_type='WarmupEMA', momentum=0.05)]\n"
    text += "log_level = 'ERROR'\n"
    config = toy_config_file.parent / f"kill_{workers}.py"
    config.write_text(text)
    script = tmp_path / "child.py"
    script.write_text(CHILD)

    calm, disturbed = tmp_path / "calm", tmp_path / "disturbed"
    process = start(config, calm, script)
    assert process.wait(300) == 0, process.stderr.read()
    disturbed.mkdir()
    for number in range(3):
        (disturbed / "saving").unlink(missing_ok=True)
        process = start(config, disturbed, script)
        while not (disturbed / "saving").exists() and process.poll() is None:
            time.sleep(0.002)
        if number:  # the first dies inside its save, the others somewhere after it
            time.sleep(moments.uniform(0.0, 0.3))
        process.kill()
        process.wait()
    process = start(config, disturbed, script)
    assert process.wait(300) == 0, process.stderr.read()

    assert find_latest(disturbed) == disturbed / "iter_60.pth"
    assert all(find_problem(path) is None for path in disturbed.glob("*.pth"))
    assert not list(disturbed.glob(".*tmp*"))
    a, b = (torch.load(d / "iter_60.pth", weights_only=True) for d in (calm, disturbed))
    for part in ("state_dict", "ema_state_dict"):
        assert all(torch.equal(v, b[part][k]) for k, v in a[part].items())
    for key, state in a["optimizer"]["state"].items():
        assert all(torch.equal(v, b["optimizer"]["state"][key][k]) for k, v in state.items())
