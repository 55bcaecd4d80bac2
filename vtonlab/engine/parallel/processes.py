"""Several processes without a GPU."""

import datetime
import os

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
