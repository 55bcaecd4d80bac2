"""Processes of a worker script, one for each rank, as tests start them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_ranks(
    worker: Path, arguments: Sequence[Sequence[str | Path]], *, timeout: float = 400
) -> None:
    """Run ``worker`` once for each list of arguments, side by side, on the CPU and one thread each.

    Fails with what the processes wrote to stderr unless all of them end with exit code 0.
    """
    paths = os.pathsep.join([str(ROOT), str(Path(worker).parent)])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    processes = [
        subprocess.Popen(
            [sys.executable, worker, *rank], env=env, stderr=subprocess.PIPE, text=True
        )
        for rank in arguments
    ]
    try:
        errors = [process.communicate(timeout=timeout)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)[-6000:]
