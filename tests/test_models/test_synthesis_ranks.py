"""Two processes train generator and discriminator as one does on the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import synthesis_worker

pytestmark = pytest.mark.ddp


def test_two_ranks_end_where_one_process_does(tmp_path):
    """Noise, R1 and the minibatch deviation do not see the ranks."""
    env = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, synthesis_worker.__file__, str(tmp_path / "rendezvous")]
    processes = [
        subprocess.Popen(
            [*command, str(rank), "2", str(tmp_path / str(rank))],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=400)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    start = synthesis_worker.make().state_dict()
    expected = synthesis_worker.trained(
        synthesis_worker.make(), list(range(synthesis_worker.BATCH))
    )
    for rank in range(2):
        found = torch.load(tmp_path / str(rank), weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            moved = (value - start[name]).abs().max()
            difference = (found[name] - value).abs().max()
            assert difference <= 1e-3 * moved + 1e-7, name
