"""Several processes without a GPU, and one run per work directory."""

import datetime
import fcntl
import os
import socket
from pathlib import Path

import torch


def init_on_cpu(launcher: str, timeout_s: int) -> None:
    """Start gloo for ``torchrun`` or slurm where mmengine would ask for a GPU.

    Raises:
        ValueError: the launcher's environment variables are missing.
    """
    if torch.distributed.is_initialized():
        return
    if launcher == "slurm":
        _adopt_slurm()
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        start = "srun" if launcher == "slurm" else "torchrun --nproc-per-node N"
        raise ValueError(
            f"--launcher {launcher} found no RANK in the environment: start with `{start} "
            f"tools/train.py ... --launcher {launcher}`"
        )
    timeout = datetime.timedelta(seconds=timeout_s)
    torch.distributed.init_process_group("gloo", timeout=timeout)


def _adopt_slurm() -> None:
    names = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}
    for name, source in names.items():
        if source in os.environ:
            os.environ.setdefault(name, os.environ[source])
    os.environ.setdefault("MASTER_ADDR", os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"))
    os.environ.setdefault("MASTER_PORT", "29500")


class WorkDirLock:
    """One run per work directory, for as long as the process lives.

    A record lock: the system frees it when the process ends, however it ends, and loader workers
    do not inherit it, so there are no stale locks.

    Raises:
        ValueError: on entering, when another process holds it; names that process.
    """

    def __init__(self, work_dir: str | Path) -> None:
        self.path = Path(work_dir) / ".lock"

    def __enter__(self) -> "WorkDirLock":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+", encoding="utf-8")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            owner = self._file.read().strip() or "another process"
            self._file.close()
            raise ValueError(
                f"{self.path.parent} is in use by {owner}: wait for it, or give this run another "
                f"--work-dir"
            ) from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()
        return self

    def __exit__(self, *exception) -> None:
        self._file.truncate(0)
        self._file.close()
